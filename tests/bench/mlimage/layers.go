package main

import (
	"archive/tar"
	"fmt"
	"io"
	"time"
)

// An entry is one member of a layer's tar.
type entry struct {
	name   string
	kind   byte // as in tar
	target string
	size   int64
	full   content
}

// A plan is what a layer is to hold. Bytes are those of its tar.
type plan struct {
	name    string
	entries []entry
	bytes   int64
}

// The sizes of the image that this one is like, at scale 1.
const (
	treeEntries, treeBytes     = 54_804, 700_000_000
	coreEntries, coreBytes     = 1_500, 2_041_000_000
	extraEntries, extraBytes   = 700, 750_000_000
	coreBlobs, extraBlobs      = 30, 12 // the big files
	modulesInTree, linkPercent = 5, 2   // extension modules in a thousand files; links in a hundred
)

func plans(scale float64) []plan {
	count := func(n int) int { return max(int(float64(n)*scale), 20) }
	size := func(n int64) int64 { return int64(float64(n) * scale) }
	return []plan{
		planTree(count(treeEntries), size(treeBytes)),
		planLibraries("core", library, coreBlobs, count(coreEntries), size(coreBytes)),
		planLibraries("extra", denseCore, extraBlobs, count(extraEntries), size(extraBytes)),
	}
}

// A tree is made package by package: a folder, modules, each with its compiled form, links now and then.
type tree struct {
	random
	plan
	words  *vocabulary
	number int // of entries wanted
	last   string
}

func planTree(number int, size int64) plan {
	t := &tree{random: 3, plan: plan{name: "python", bytes: size}, words: newVocabulary(), number: number}
	t.folder("opt")
	t.folder("opt/python")
	t.folder("opt/python/lib")
	for t.room() {
		t.pack(fmt.Sprintf("opt/python/lib/%s_%d", t.words.words[t.below(6000)], len(t.entries)), 1+t.below(3))
	}
	t.fit()
	return t.plan
}

func (t *tree) room() bool { return len(t.entries) < t.number }

func (t *tree) add(e entry) {
	if t.room() {
		t.entries = append(t.entries, e)
	}
}

func (t *tree) folder(name string) { t.add(entry{name: name + "/", kind: tar.TypeDir}) }

func (t *tree) pack(folder string, depth int) {
	t.folder(folder)
	t.folder(folder + "/__pycache__")
	t.last = "" // hard links stay in their folder
	for i := range 4 + t.below(24) {
		t.module(folder, fmt.Sprintf("%s_%d", t.words.words[t.below(6000)], i))
	}
	if depth > 0 {
		for i := range t.below(4) {
			t.pack(fmt.Sprintf("%s/%s%d", folder, t.words.words[t.below(6000)], i), depth-1)
		}
	}
}

func (t *tree) module(folder, stem string) {
	switch dice := t.below(1000); {
	case dice < modulesInTree:
		t.add(entry{name: folder + "/" + stem + ".so", kind: tar.TypeReg, size: t.size(700_000, 29), full: machine})
		return
	case dice < modulesInTree+20*linkPercent && t.last != "":
		kind, target := byte(tar.TypeLink), t.last
		if dice%3 == 0 {
			kind, target = tar.TypeSymlink, "../"+stem
		}
		t.add(entry{name: folder + "/" + stem + ".py", kind: kind, target: target})
		return
	}
	size := t.size(4_500, 39)
	t.last = folder + "/" + stem + ".py"
	t.add(entry{name: t.last, kind: tar.TypeReg, size: size, full: text})
	t.add(entry{name: folder + "/__pycache__/" + stem + ".cpython-311.pyc", kind: tar.TypeReg, size: size * 3 / 4, full: bytecode})
}

// planLibraries: a few big files of which each is a third smaller than the one before, and headers.
func planLibraries(name string, full content, blobs, number int, size int64) plan {
	t := &tree{random: random(len(name)), plan: plan{name: name, bytes: size}, words: newVocabulary(), number: number}
	root := "opt/gpu-" + name
	for _, folder := range []string{"opt", root, root + "/lib64", root + "/include"} {
		t.folder(folder)
	}
	share := size / 3
	for i := range min(blobs, number/2) {
		file := fmt.Sprintf("%s/lib64/lib%s%d.so", root, t.words.words[t.below(6000)], i)
		t.add(entry{name: file + ".13", kind: tar.TypeReg, size: share + 4096, full: full})
		t.add(entry{name: file, kind: tar.TypeSymlink, target: fmt.Sprintf("%s.13", file[len(root+"/lib64/"):])})
		share = share * 17 / 25
	}
	for i := 0; t.room(); i++ {
		t.add(entry{name: fmt.Sprintf("%s/include/%s%d.h", root, t.words.words[t.below(6000)], i), kind: tar.TypeReg, size: t.size(6_000, 36), full: text})
	}
	t.fit()
	return t.plan
}

const block = 512

// fit makes the files together fill the layer: a layer's tar is off by a few blocks an entry at most.
func (t *tree) fit() {
	var data int64
	for _, e := range t.entries {
		data += e.size
	}
	wanted := t.bytes - int64(len(t.entries))*block*3/2
	for i := range t.entries {
		t.entries[i].size = t.entries[i].size * wanted / data
	}
}

// write makes the layer's tar.
func (p *plan) write(to io.Writer, words *vocabulary) error {
	out, templates := tar.NewWriter(to), newTemplates()
	chunk := make([]byte, 64<<10)
	for i, e := range p.entries {
		head := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.target, Size: e.size, Mode: 0o644,
			ModTime: time.Unix(1_700_000_000+int64(i), 0), Uname: "root", Gname: "root", Format: tar.FormatGNU}
		if e.kind == tar.TypeDir || e.full >= machine {
			head.Mode = 0o755
		}
		if err := out.WriteHeader(head); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		m := &maker{random: random(uint64(len(p.name))<<32 + uint64(i)), kind: e.full, words: words, templates: templates}
		for left := e.size; left > 0; {
			piece := chunk[:min(left, int64(len(chunk)))]
			m.Read(piece)
			if _, err := out.Write(piece); err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			left -= int64(len(piece))
		}
	}
	return out.Close()
}
