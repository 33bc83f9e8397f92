package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// processes maps each PID to its name (comm). The lane has a PID namespace of its own: nobody else's are among them.
func processes() map[int]string {
	found := map[int]string{}
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		name, gone := os.ReadFile(folder + "/comm")
		if err == nil && gone == nil {
			found[pid] = strings.TrimSpace(string(name))
		}
	}
	return found
}

// newProcesses are those that are not in `before`, by PID.
func newProcesses(before map[int]string) map[int]string {
	now := processes()
	for pid := range before {
		delete(now, pid)
	}
	return now
}

// A memory is what smaps_rollup says (proc(5)), in KiB. Private is clean and dirty together.
type memory struct{ rss, pss, private float64 }

func (m *memory) add(other memory) {
	m.rss += other.rss
	m.pss += other.pss
	m.private += other.private
}

func memoryOf(pid int) (memory, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return memory{}, err
	}
	var m memory
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		value, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "Rss:":
			m.rss += value
		case "Pss:":
			m.pss += value
		case "Private_Clean:", "Private_Dirty:":
			m.private += value
		}
	}
	return m, nil
}

// cpuNanoseconds sums what the processes have used, threads that have ended with them: the clock that clock_getcpuclockid(3)
// makes of a PID.
func cpuNanoseconds(pids []int) float64 {
	var sum float64
	for _, pid := range pids {
		const scheduled = 2
		var used unix.Timespec
		if unix.ClockGettime(int32(^pid<<3|scheduled), &used) == nil {
			sum += float64(used.Nano())
		}
	}
	return sum
}
