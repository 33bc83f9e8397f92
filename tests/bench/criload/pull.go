package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A pulling is what the part needs to know of the image and of the registry that has it.
type pulling struct {
	description string // what mlimage said, a file
	repository  string // how the servers call it, without a tag
	registry    int    // PID
	store       string // the registry's folder
	rounds      int
}

func pullFlags() *pulling {
	o := &pulling{}
	flag.StringVar(&o.description, "pull-image", "", "what mlimage has pushed, as it said it")
	flag.StringVar(&o.repository, "pull-repository", "", "how the servers call it")
	flag.IntVar(&o.registry, "pull-registry", 0, "PID of the registry that serves it")
	flag.StringVar(&o.store, "pull-store", "", "folder where that registry keeps it")
	flag.IntVar(&o.rounds, "rounds", 3, "pulls of each image by each server")
	return o
}

// A mlImage is what mlimage prints.
type mlImage struct {
	Entries int
	Tar     int64
	Layers  []struct {
		Blobs map[string]struct{ Digest string }
	}
	Images []mlFormat
}

type mlFormat struct {
	Format, Tag, Manifest, Config string
	Bytes                         int64
}

func (o *pulling) load() (*mlImage, error) {
	data, err := os.ReadFile(o.description)
	if err != nil {
		return nil, err
	}
	made := &mlImage{}
	if err := json.Unmarshal(data, made); err != nil {
		return nil, fmt.Errorf("%s: %w", o.description, err)
	}
	if len(made.Images) == 0 || o.rounds < 1 {
		return nil, fmt.Errorf("%s: no image, or no rounds", o.description)
	}
	return made, nil
}

// warm reads what the registry will send, so that its disk is nobody's cost.
func (o *pulling) warm(all *mlImage, which mlFormat) error {
	for _, l := range all.Layers {
		hex := strings.TrimPrefix(l.Blobs[which.Format].Digest, "sha256:")
		if len(hex) != 64 {
			return fmt.Errorf("layer without a digest for %s", which.Format)
		}
		file, err := os.Open(filepath.Join(o.store, "docker/registry/v2/blobs/sha256", hex[:2], hex, "data"))
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, file)
		file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// syncFilesystem makes what was written there durable: syncfs(2).
func syncFilesystem(folder string) error {
	file, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.Syncfs(int(file.Fd()))
}

func (p *peer) root() string { return filepath.Join(p.folder, "root") }

func (p *peer) pullImage(ctx context.Context, name string) error {
	_, err := p.images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: name}})
	return err
}

// check asks whether the server has the very image that was made.
func (p *peer) check(ctx context.Context, name string, which mlFormat) error {
	answer, err := p.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
	if err != nil {
		return err
	}
	if id := answer.GetImage().GetId(); id != which.Config {
		return fmt.Errorf("%s: has %q and should have %s", name, id, which.Config)
	}
	named := func(digest string) bool { return strings.HasSuffix(digest, "@"+which.Manifest) }
	if !slices.ContainsFunc(answer.Image.RepoDigests, named) {
		return fmt.Errorf("%s: has digests %v and should have %s", name, answer.Image.RepoDigests, which.Manifest)
	}
	return nil
}

// cold pulls what is not there and says what that has cost.
func (o *pulling) cold(p *peer, name string, into costs) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	before, err := bytesBelow(p.root(), -1)
	if err != nil {
		return err
	}
	if err := syncFilesystem(p.root()); err != nil { // what others wrote is not to be waited for
		return err
	}
	daemon, err := p.daemonPid()
	if err != nil {
		return err
	}
	registry, busy := usedBy(o.registry).alone, machineBusy()
	w := watchTree(daemon)
	begin := time.Now()
	err = p.pullImage(ctx, name)
	pulled := time.Since(begin).Seconds()
	if err == nil {
		err = syncFilesystem(p.root())
	}
	durable := time.Since(begin).Seconds()
	used := w.finish()
	if err != nil {
		return err
	}
	registry, busy = usedBy(o.registry).alone-registry, machineBusy()-busy
	after, err := bytesBelow(p.root(), -1)
	into.add(pullSeconds, pulled)
	into.add(syncSeconds, durable-pulled)
	into.add(durableSeconds, durable)
	into.add(cpuSeconds, used.cpu)
	into.add(registrySeconds, registry)
	into.add(otherCores, max(busy-used.cpu-registry, 0)/durable)
	into.add(peakMemory, used.peak)
	into.add(diskBytes, float64(after-before)/1e6)
	into.keep(used.each)
	return err
}

// again pulls what is there.
func (p *peer) again(name string, into costs) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var took []time.Duration
	for range 5 {
		begin := time.Now()
		if err := p.pullImage(ctx, name); err != nil {
			return err
		}
		took = append(took, time.Since(begin))
	}
	into.add(warmMillis, float64(median(took))/1e6)
	return nil
}

// drop removes the image and waits until its files are gone: a tree smaller than `small` bytes.
func (p *peer) drop(name string, small int64, into costs) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	begin := time.Now()
	if _, err := p.images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: name}}); err != nil {
		return err
	}
	into.add(removeSeconds, time.Since(begin).Seconds())
	for {
		left, err := bytesBelow(p.root(), small)
		if err == nil && left <= small {
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %d bytes are there after RemoveImage, and %d were before the pull (%w)", name, left, small, ctx.Err())
		}
		time.Sleep(5 * time.Millisecond)
	}
	into.add(goneSeconds, time.Since(begin).Seconds())
	answer, err := p.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
	if err == nil && answer.Image != nil {
		err = fmt.Errorf("%s: is there after RemoveImage", name)
	}
	return err
}

// slack is how much databases may have grown.
const slack = 1 << 20

// round leads the image once through its life on one server.
func (o *pulling) round(p *peer, all *mlImage, which mlFormat, into costs) error {
	name := o.repository + ":" + which.Tag
	before, err := bytesBelow(p.root(), -1)
	if err == nil {
		err = o.warm(all, which)
	}
	if err == nil {
		err = o.cold(p, name, into)
	}
	if err == nil {
		err = p.check(context.Background(), name, which)
	}
	if err == nil {
		err = p.again(name, into)
	}
	if err == nil {
		err = p.drop(name, before+slack, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// pulls measures image by image, the servers in turn, and each round in the opposite order: what a pull leaves behind in
// the machine falls on both alike.
func pulls(peers []*peer, o *pulling) error {
	all, err := o.load()
	if err != nil {
		return err
	}
	for _, which := range all.Images {
		results := map[string]costs{}
		for _, p := range peers {
			results[p.name] = newCosts()
		}
		order := slices.Clone(peers)
		for range o.rounds {
			for _, p := range order {
				if err := o.round(p, all, which, results[p.name]); err != nil {
					return err
				}
			}
			slices.Reverse(order)
		}
		printPulls(fmt.Sprintf("Pull of %d layers in %s: %.0f MB, %.0f MB of tar, %d entries; each pulled %d times, in turn", len(all.Layers),
			which.Format, float64(which.Bytes)/1e6, float64(all.Tar)/1e6, all.Entries, o.rounds), peers, results)
	}
	return nil
}
