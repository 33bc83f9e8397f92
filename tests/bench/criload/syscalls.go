package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The container's program is known in a trace by this word in its execve.
const marker = "gantry-bench-marker"

// A call that begins; lines of signals, exits and resumed calls are none.
var callLine = regexp.MustCompile(`^\d+ +[a-z0-9_]+\(`)

// systemCalls counts what the pod's helper processes, and all that they start, ask of the kernel from the call of
// CreateContainer to the execve of the container's program. Best effort: -1 where strace cannot tell.
func (p *peer) systemCalls() (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	before := processes()
	which, err := p.run(ctx)
	if err != nil {
		return -1, err
	}
	defer p.remove(context.Background(), which)
	defer p.stop(context.Background(), which)
	file := filepath.Join(p.folder, "strace.out")
	tracer, err := trace(newProcesses(before), file)
	if err != nil {
		return -1, err
	}
	config := p.containerConfig("/bin/sh", "-c", ": "+marker+"; exec sleep 60")
	if err = p.create(ctx, which, config); err == nil {
		err = p.start(ctx, which)
	}
	tracer.Process.Signal(syscall.SIGINT)
	tracer.Wait()
	if err != nil {
		return -1, err
	}
	return countUntilMarker(file)
}

// trace attaches strace to the processes and returns when it has.
func trace(pids map[int]string, file string) (*exec.Cmd, error) {
	arguments := []string{"-f", "-s", "256", "-e", "signal=none", "-o", file}
	for pid, name := range pids {
		if name != "pause" {
			arguments = append(arguments, "-p", strconv.Itoa(pid))
		}
	}
	tracer := exec.Command("strace", arguments...)
	said, err := os.Create(file + ".said")
	if err != nil {
		return nil, err
	}
	defer said.Close()
	tracer.Stderr = said
	if err := tracer.Start(); err != nil {
		return nil, err
	}
	wanted := strings.Count(strings.Join(arguments, " "), "-p ")
	for range 500 {
		text, _ := os.ReadFile(said.Name())
		if strings.Count(string(text), "attached") >= wanted {
			return tracer, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	text, _ := os.ReadFile(said.Name())
	tracer.Process.Kill()
	tracer.Wait()
	return nil, fmt.Errorf("strace did not attach: %s", text)
}

func countUntilMarker(file string) (float64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return -1, err
	}
	count := 0.0
	for line := range strings.Lines(string(text)) {
		if callLine.MatchString(line) {
			count++
		}
		if strings.Contains(line, "execve(") && strings.Contains(line, marker) {
			return count, nil
		}
	}
	return -1, fmt.Errorf("no execve of the container's program in the trace")
}

func syscalls(peers []*peer) {
	f := figure{name: "system calls", format: "%.0f"}
	for _, p := range peers {
		count, err := p.systemCalls()
		if err != nil {
			fmt.Fprintf(os.Stderr, "criload: %s: system calls: %v\n", p.name, err)
		}
		f.values = append(f.values, count)
	}
	printFigures("CreateContainer to execve, in the pod's helper processes and what they start (strace)", peers, []figure{f})
}
