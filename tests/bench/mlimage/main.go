// Mlimage makes an image of the shape of those that ML teams pull, and pushes it: a Python tree of tens of thousands of
// small files, and two layers of GPU libraries, which compress badly. Nothing of it is anybody's: all is generated, and
// the same on every machine. With gzip -6 as HOST:PORT/NAME:gzip, and, where there is a zstd, with zstd -3 as NAME:zstd.
//
//	mlimage [-scale 1] HOST:PORT/NAME      prints as JSON what it has pushed
//
// At scale 1: 3.49 GB of tar, 2.04 GB of gzip, 57,000 entries. It takes some minutes, nearly all of them gzip's.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// A format is one compression of the layers.
type format struct {
	Name    string
	command []string
	kind    string // media type
}

var formats = []format{
	{"gzip", []string{"gzip", "-n", "-6"}, "application/vnd.oci.image.layer.v1.tar+gzip"},
	{"zstd", []string{"zstd", "-q", "-3", "-T1", "--no-progress"}, "application/vnd.oci.image.layer.v1.tar+zstd"},
}

// A layer is one tar, in each of the formats.
type layer struct {
	Name    string
	Entries int
	DiffID  string
	Tar     int64 // bytes
	Blobs   map[string]blob
}

// An image is one of the formats, pulled by its tag.
type image struct {
	Format   string
	Tag      string
	Manifest string // digests
	Config   string
	Bytes    int64 // of the compressed layers
}

// A report is what was pushed.
type report struct {
	Scale   float64
	Entries int
	Tar     int64
	Layers  []layer
	Images  []image
}

// compress starts the format's program between the tar and the registry. The answer is sent when all is pushed.
func compress(f format, to repository) (io.WriteCloser, <-chan pushed, error) {
	program := exec.Command(f.command[0], f.command[1:]...)
	program.Stderr = os.Stderr
	in, err := program.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := program.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := program.Start(); err != nil {
		return nil, nil, err
	}
	done := make(chan pushed, 1)
	go func() {
		b, err := to.put(bufio.NewReaderSize(out, 1<<20))
		io.Copy(io.Discard, out) // a refused upload must not block the tar's writer
		done <- pushed{b, errors.Join(err, program.Wait())}
	}()
	return in, done, nil
}

type pushed struct {
	blob blob
	err  error
}

// push writes the tar once, into all compressors at the same time.
func (p *plan) push(to repository, in []format, words *vocabulary) (layer, error) {
	hash, counted := sha256.New(), &counter{}
	sinks := []io.Writer{hash, counted}
	var inputs []io.Closer
	answers := map[string]<-chan pushed{}
	for _, f := range in {
		input, done, err := compress(f, to)
		if err != nil {
			return layer{}, err
		}
		sinks, inputs, answers[f.Name] = append(sinks, input), append(inputs, input), done
	}
	buffered := bufio.NewWriterSize(io.MultiWriter(sinks...), 256<<10)
	err := errors.Join(p.write(buffered, words), buffered.Flush())
	for _, input := range inputs {
		err = errors.Join(err, input.Close())
	}
	made := layer{Name: p.name, Entries: len(p.entries), DiffID: "sha256:" + hex.EncodeToString(hash.Sum(nil)),
		Tar: counted.bytes, Blobs: map[string]blob{}}
	for name, done := range answers {
		answer := <-done
		made.Blobs[name], err = answer.blob, errors.Join(err, answer.err)
	}
	return made, err
}

func usable() []format {
	var found []format
	for _, f := range formats {
		if _, err := exec.LookPath(f.command[0]); err != nil {
			fmt.Fprintf(os.Stderr, "mlimage: no %s here, and so no image with it\n", f.command[0])
		} else {
			found = append(found, f)
		}
	}
	return found
}

// pushLayers makes all layers at once: gzip uses one core for each.
func pushLayers(to repository, scale float64, in []format) ([]layer, error) {
	words, all := newVocabulary(), plans(scale)
	layers, problems := make([]layer, len(all)), make([]error, len(all))
	done := make(chan struct{})
	for i := range all {
		go func() {
			layers[i], problems[i] = all[i].push(to, in, words)
			done <- struct{}{}
		}()
	}
	for range all {
		<-done
	}
	return layers, errors.Join(problems...)
}

func run() error {
	scale := flag.Float64("scale", 1, "of sizes and numbers of files")
	flag.Parse()
	if flag.NArg() != 1 || *scale <= 0 || *scale > 10 {
		return errors.New("usage: mlimage [-scale 1] HOST:PORT/NAME")
	}
	to, err := parseRepository(flag.Arg(0))
	if err != nil {
		return err
	}
	in := usable()
	layers, err := pushLayers(to, *scale, in)
	if err != nil {
		return err
	}
	made := report{Scale: *scale, Layers: layers}
	for _, l := range layers {
		made.Entries += l.Entries
		made.Tar += l.Tar
	}
	for _, f := range in {
		pushed, err := pushManifest(to, f, layers)
		if err != nil {
			return err
		}
		made.Images = append(made.Images, pushed)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	return out.Encode(made)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mlimage:", err)
		os.Exit(1)
	}
}
