package main

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// What a file is full of. The share of each kind makes an image compress as a real one does, and its pieces are
// mixed as real ones are, since a decoder's speed depends on the mixture and not on the ratio alone.
type content int

const (
	text      content = iota // lines of source code
	bytecode                 // what an interpreter compiled them to
	machine                  // an extension module: machine code, tables, strings
	library                  // a GPU library: much of it compressed already
	denseCore                // a GPU library that is compressed nearly all
)

// vocabulary is what text and strings are made of: words, and phrases of a few words.
type vocabulary struct{ words, phrases []string }

func newVocabulary() *vocabulary {
	r := random(1)
	const consonants, vowels = "bcdfghklmnprstvw", "aeiou"
	v := &vocabulary{}
	for range 6000 {
		var word strings.Builder
		for range 1 + r.below(4) {
			word.WriteByte(consonants[r.below(len(consonants))])
			word.WriteByte(vowels[r.below(len(vowels))])
		}
		if r.below(3) == 0 {
			word.WriteByte(consonants[r.below(len(consonants))])
		}
		v.words = append(v.words, word.String())
	}
	shapes := []string{"self.%s = %s", "if %s is not None and %s", "return %s(%s)", "def %s(self, %s):", "import %s.%s", "%s[%s]", "raise %sError(%s)", "# the %s of %s", "\"\"\"%s %s"}
	for range 3000 {
		v.phrases = append(v.phrases, fmt.Sprintf(shapes[r.below(len(shapes))], v.words[r.skewed(6000)], v.words[r.skewed(6000)]))
	}
	return v
}

// A maker fills buffers with one file's content; the seed is the file's own.
type maker struct {
	random
	kind      content
	words     *vocabulary
	templates *[512][8]byte // of instructions
	rest      []byte        // made and not yet handed out
	store     []byte
	old       []byte // a piece that is repeated now and then, from further back than gzip sees
	pieces    int
	address   uint64
}

func newTemplates() *[512][8]byte {
	r := random(2)
	made := &[512][8]byte{}
	for i := range made {
		binary.LittleEndian.PutUint64(made[i][:], r.next())
	}
	return made
}

// Read never fails and never ends.
func (m *maker) Read(to []byte) (int, error) {
	for done := 0; done < len(to); {
		if len(m.rest) == 0 {
			m.rest = m.more()
		}
		n := copy(to[done:], m.rest)
		done, m.rest = done+n, m.rest[n:]
	}
	return len(to), nil
}

// more is mostly a new piece. Of a library's, one in fourteen is an old one: zstd finds it, gzip does not.
func (m *maker) more() []byte {
	m.pieces++
	if m.kind >= library && len(m.old) > 0 && m.below(100) < 7 {
		return m.old
	}
	m.store = m.piece(m.store[:0])
	if m.pieces%24 == 1 {
		m.old = append(m.old[:0], m.store...)
	}
	return m.store
}

// shares are cumulative, of 1000 pieces: packed, code, table, strings; what remains is zeros.
var shares = map[content][4]int{
	bytecode:  {20, 480, 560, 1000},
	machine:   {30, 640, 860, 960},
	library:   {458, 830, 930, 960},
	denseCore: {724, 908, 970, 985},
}

func (m *maker) piece(to []byte) []byte {
	size := 2<<10 + m.below(30<<10)
	if m.kind == bytecode {
		size = 64 + m.below(512)
	}
	share := shares[m.kind]
	switch dice := m.below(1000); {
	case m.kind == text:
		return m.lines(to, size)
	case dice < share[0]:
		return m.packed(to, size)
	case dice < share[1]:
		return m.code(to, size)
	case dice < share[2]:
		return m.table(to, size)
	case dice < share[3]:
		return m.lines(to, size)
	}
	return append(to, make([]byte, size)...)
}

func (m *maker) packed(to []byte, size int) []byte {
	for range size / 8 {
		to = binary.LittleEndian.AppendUint64(to, m.next())
	}
	return to
}

// code: instructions of a few bytes, some with an operand of their own.
func (m *maker) code(to []byte, size int) []byte {
	for end := len(to) + size; len(to) < end; {
		which := m.skewed(len(m.templates))
		to = append(to, m.templates[which][:2+which%6]...)
		dice := m.next()
		if dice&3 == 0 {
			to = append(to, byte(dice>>8), byte(dice>>16)&3, 0, 0)
		}
		if dice>>32&0xff < 24 {
			to = m.again(to, 16+int(dice>>40&63))
		}
	}
	return to
}

// table: relocations, whose addresses grow.
func (m *maker) table(to []byte, size int) []byte {
	for range size / 24 {
		dice := m.next()
		m.address += 8 + dice&1*8
		to = binary.LittleEndian.AppendUint64(to, m.address)
		to = binary.LittleEndian.AppendUint64(to, 8)
		to = binary.LittleEndian.AppendUint64(to, dice>>16&0xffff+1<<20)
	}
	return to
}

const spaces = "                "

func (m *maker) lines(to []byte, size int) []byte {
	for end := len(to) + size; len(to) < end; {
		dice := m.next()
		to = append(to, spaces[:4*(dice&3)]...)
		to = append(to, m.words.phrases[m.skewed(len(m.words.phrases))]...)
		for ; dice&0x30 != 0; dice >>= 2 {
			to = append(append(to, ' '), m.words.words[m.skewed(len(m.words.words))]...)
		}
		to = append(to, '\n')
		if dice>>32&0xff < 146 {
			to = m.again(to, 40+int(dice>>40&127))
		}
	}
	return to
}

// again repeats what stands somewhere before in the piece, as code does that was written by the same hand.
func (m *maker) again(to []byte, size int) []byte {
	if len(to) < 2*size {
		return to
	}
	start := m.below(len(to) - size)
	return append(to, to[start:start+size]...)
}
