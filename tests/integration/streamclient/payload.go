package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// What has passed one way: how much, its checksum, its first 4 KiB.
type flow struct {
	Bytes  int64  `json:"bytes"`
	Sha256 string `json:"sha256"`
	Text   string `json:"text"`
}

// A counter sees bytes pass. Safe to look at while they do.
type counter struct {
	mutex sync.Mutex
	sum   hash.Hash
	bytes int64
	text  bytes.Buffer
}

func newCounter() *counter { return &counter{sum: sha256.New()} }

func (c *counter) add(p []byte) int64 {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.sum.Write(p)
	c.bytes += int64(len(p))
	if room := 4096 - c.text.Len(); room > 0 {
		c.text.Write(p[:min(room, len(p))])
	}
	return c.bytes
}

func (c *counter) flow() flow {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return flow{c.bytes, hex.EncodeToString(c.sum.Sum(nil)), c.text.String()}
}

// A sink takes bytes, as slowly as it is told to, and calls `reached` once it has had `limit` of them.
type sink struct {
	*counter
	rate    int
	limit   int64
	reached func()
	ready   string // a file that is made for the first byte
}

func (s *sink) Write(p []byte) (int, error) {
	total := s.add(p)
	if s.ready != "" {
		_ = os.WriteFile(s.ready, nil, 0o600)
		s.ready = ""
	}
	if s.rate > 0 {
		time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(s.rate))
	}
	if s.limit > 0 && total >= s.limit {
		s.limit = 0
		s.reached()
	}
	return len(p), nil
}

// A source gives a text, then so many bytes of noise, then its end; or, held, no end before the context's.
type source struct {
	*counter
	from io.Reader
	hold bool
	ctx  context.Context
}

func newSource(ctx context.Context, text string, noise int64, seed uint64, hold bool) *source {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	from := io.MultiReader(bytes.NewReader([]byte(text)), io.LimitReader(rand.NewChaCha8(key), noise))
	return &source{newCounter(), from, hold, ctx}
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	s.add(p[:n])
	if err == io.EOF && s.hold {
		<-s.ctx.Done()
	}
	return n, err
}
