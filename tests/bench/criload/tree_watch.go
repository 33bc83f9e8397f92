package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	ticks  = 100 // of proc(5) in a second, on every Linux
	period = 50 * time.Millisecond
)

// A usage is CPU seconds, user and system together: of a process, and of it with all children that it has waited for.
type usage struct {
	name            string
	alone, together float64
	parent          int
}

// usedBy is zero for a process that is not there.
func usedBy(pid int) usage {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	begin, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return usage{}
	}
	_, name, _ := strings.Cut(begin, "(")
	number := func(i int) float64 { value, _ := strconv.ParseFloat(fields[i], 64); return value }
	alone := (number(11) + number(12)) / ticks
	return usage{name, alone, alone + (number(13)+number(14))/ticks, int(number(1))}
}

// machineBusy is the CPU seconds of the whole machine that were not idle, those that its host took among them (proc(5), stat).
func machineBusy() float64 {
	data, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(data), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0
	}
	var sum float64
	for i, field := range fields[1:9] {
		if value, err := strconv.ParseFloat(field, 64); err == nil && i != 3 && i != 4 { // idle, waiting for a disk
			sum += value
		}
	}
	return sum / ticks
}

// memoryNow says how much a process has in memory and had at most, in MiB.
func memoryNow(pid int) (now, most float64) {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch value, _ := strconv.ParseFloat(fields[1], 64); fields[0] {
		case "VmRSS:":
			now = value / 1024
		case "VmHWM:":
			most = value / 1024
		}
	}
	return now, most
}

// A kind is all processes of one name: how many, their CPU, and the memory of the biggest.
type kind struct {
	pids map[int]float64
	most float64
}

func (k *kind) cpu() (sum float64) {
	for _, used := range k.pids {
		sum += used
	}
	return sum
}

// A treeUse is what a daemon and its descendants have used while they were watched.
type treeUse struct {
	cpu  float64 // core-seconds, exact: of the daemon and of all children that it waited for
	peak float64 // MiB, of all together at the worst moment that was sampled; what they share counts for each
	each map[string]*kind
}

type treeWatch struct {
	treeUse
	daemon     int
	program    string
	begin, own float64
	stop, done chan struct{}
}

// watchTree samples until finish. The daemon's mark of its highest memory is set back first (proc(5), clear_refs).
func watchTree(daemon int) *treeWatch {
	os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", daemon), []byte("5"), 0)
	used := usedBy(daemon)
	w := &treeWatch{daemon: daemon, begin: used.together, own: used.alone, stop: make(chan struct{}), done: make(chan struct{})}
	w.each = map[string]*kind{}
	w.program, _ = os.Readlink(fmt.Sprintf("/proc/%d/exe", daemon))
	go func() {
		defer close(w.done)
		for tick := time.NewTicker(period); ; {
			w.sample()
			select {
			case <-w.stop:
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

// sample counts how many children there are.
func (w *treeWatch) sample() int {
	all := map[int]usage{}
	names, _ := os.ReadDir("/proc")
	for _, entry := range names {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			all[pid] = usedBy(pid)
		}
	}
	var sum float64
	children := 0
	for pid, used := range all {
		if !below(pid, w.daemon, all) || w.unborn(pid) {
			continue
		}
		now, most := memoryNow(pid)
		k := w.each[used.name]
		if k == nil {
			k = &kind{pids: map[int]float64{}}
			w.each[used.name] = k
		}
		sum, k.most, k.pids[pid] = sum+now, max(k.most, most), used.alone
		if pid == w.daemon {
			k.pids[pid] -= w.own
		} else {
			children++
		}
	}
	w.peak = max(w.peak, sum)
	return children
}

// unborn: cloned and before its execve, when its memory is the daemon's own.
func (w *treeWatch) unborn(pid int) bool {
	program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return pid != w.daemon && program == w.program
}

func below(pid, ancestor int, all map[int]usage) bool {
	for pid != ancestor && pid > 1 {
		pid = all[pid].parent
	}
	return pid == ancestor
}

// finish waits for the daemon's children to be waited for, five seconds at most: their CPU counts then.
func (w *treeWatch) finish() treeUse {
	close(w.stop)
	<-w.done
	for end := time.Now().Add(5 * time.Second); w.sample() > 0 && time.Now().Before(end); {
		time.Sleep(period)
	}
	w.cpu = usedBy(w.daemon).together - w.begin
	return w.treeUse
}

// bytesBelow sums what files below a folder take of its file system, each once however many names it has. It stops
// when it has counted more than `enough`, unless that is negative. What vanishes meanwhile is not counted.
func bytesBelow(folder string, enough int64) (int64, error) {
	var top syscall.Stat_t
	if err := syscall.Stat(folder, &top); err != nil {
		return 0, err
	}
	var sum int64
	counted := map[uint64]bool{}
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, _ error) error {
		var file syscall.Stat_t
		if syscall.Lstat(path, &file) != nil {
			return nil
		}
		isFolder := file.Mode&syscall.S_IFMT == syscall.S_IFDIR
		if file.Dev != top.Dev && isFolder {
			return fs.SkipDir
		}
		if file.Nlink > 1 && !isFolder {
			if counted[file.Ino] {
				return nil
			}
			counted[file.Ino] = true
		}
		if sum += file.Blocks * 512; enough >= 0 && sum > enough {
			return fs.SkipAll
		}
		return nil
	})
	return sum, err
}
