package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"testing"
)

func tarOf(t *testing.T, p plan) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := p.write(&out, newVocabulary()); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	return out.Bytes()
}

func TestLayersAreTheSameEverywhere(t *testing.T) {
	pinned := map[string]string{
		"python": "bd23a7dc81c628cac41e56905a437c29b80587a0c8f8e9cab699901ceae4df60",
		"core":   "8cc9838932876f6a735f134ee156b1a33c58e783aa159458ad6a8f4ef5c6742a",
		"extra":  "11aa1137e7bfa2881f1433af7c4ee59fc4e6b1bcbef246d11834cfea642a0534",
	}
	for _, p := range plans(0.002) {
		if sum := fmt.Sprintf("%x", sha256.Sum256(tarOf(t, p))); sum != pinned[p.name] {
			t.Errorf("%s: the tar's sha256 is %s and should be %s", p.name, sum, pinned[p.name])
		}
	}
}

func TestLayersCompressAsTheRealOnes(t *testing.T) {
	real := map[string]float64{"python": 700. / 189, "core": 2041. / 1251, "extra": 750. / 599}
	for _, p := range plans(0.01) {
		var packed bytes.Buffer
		plain := tarOf(t, p)
		w, _ := gzip.NewWriterLevel(&packed, 6)
		w.Write(plain)
		w.Close()
		ratio := float64(len(plain)) / float64(packed.Len())
		if math.Abs(ratio/real[p.name]-1) > 0.12 {
			t.Errorf("%s: compresses %.2f to 1 and should %.2f to 1", p.name, ratio, real[p.name])
		}
	}
}

func TestTreeHoldsWhatPythonTreesHold(t *testing.T) {
	p := plans(0.02)[0]
	kinds, known := map[byte]int{}, map[string]bool{}
	archive := tar.NewReader(bytes.NewReader(tarOf(t, p)))
	for {
		head, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if known[head.Name] {
			t.Errorf("%s is there twice", head.Name)
		}
		if head.Typeflag == tar.TypeLink && !known[head.Linkname] {
			t.Errorf("%s is a link to %s, which was not there before", head.Name, head.Linkname)
		}
		known[head.Name] = true
		kinds[head.Typeflag]++
	}
	for _, kind := range []byte{tar.TypeReg, tar.TypeDir, tar.TypeLink, tar.TypeSymlink} {
		if kinds[kind] < len(p.entries)/500 {
			t.Errorf("%d of %d entries are of type %c", kinds[kind], len(p.entries), kind)
		}
	}
}

func TestLayersAreAsBigAsAskedFor(t *testing.T) {
	for _, p := range plans(0.01) {
		if made := int64(len(tarOf(t, p))); math.Abs(float64(made)/float64(p.bytes)-1) > 0.05 {
			t.Errorf("%s: %d bytes of tar, and %d were wanted", p.name, made, p.bytes)
		}
	}
}
