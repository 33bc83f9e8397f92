package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const workload = "sleep"

// A standing is what was measured of one peer while its pods stood.
type standing struct {
	startAll, restart   time.Duration
	list                []time.Duration
	daemonBefore        memory
	daemon, helpers     memory // helpers: all of them together
	helperNames         string
	idleDaemon, idleAll float64 // percent of one core
}

func (p *peer) daemonPid() (int, error) {
	data, err := os.ReadFile(filepath.Join(p.folder, "pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

func (p *peer) startPods(number int) ([]*pod, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var all []*pod
	for range number {
		which, err := p.run(ctx)
		if err == nil {
			all = append(all, which)
			err = p.create(ctx, which, p.containerConfig(workload, "36000"))
		}
		if err == nil {
			err = p.start(ctx, which)
		}
		if err != nil {
			return all, fmt.Errorf("%s: pod %d: %w", p.name, len(all), err)
		}
	}
	return all, nil
}

func (p *peer) removePods(all []*pod) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var problems []error
	for _, which := range all {
		problems = append(problems, p.stop(ctx, which), p.remove(ctx, which))
	}
	return errors.Join(problems...)
}

// helpersOf are the processes that came with the pods and are not the pods' own, and their names with counts.
func helpersOf(before map[int]string) ([]int, string) {
	var pids []int
	counts := map[string]int{}
	for pid, name := range newProcesses(before) {
		if name != workload {
			pids = append(pids, pid)
			kind, _, _ := strings.Cut(name, " ") // after it comes the pod
			counts[kind]++
		}
	}
	var names []string
	for name, count := range counts {
		names = append(names, fmt.Sprintf("%d %s", count, name))
	}
	sort.Strings(names)
	return pids, strings.Join(names, ", ")
}

func (s *standing) measureMemory(daemon int, helpers []int) (err error) {
	if s.daemon, err = memoryOf(daemon); err != nil {
		return err
	}
	for _, pid := range helpers {
		if m, err := memoryOf(pid); err == nil { // else it has ended
			s.helpers.add(m)
		}
	}
	return nil
}

// cpuDuring says what percent of one core the daemon, and it with its helpers, used while something was done.
func cpuDuring(daemon int, helpers []int, work func() error) (alone, together float64, err error) {
	daemonBefore, helpersBefore, begin := cpuNanoseconds([]int{daemon}), cpuNanoseconds(helpers), time.Now()
	err = work()
	passed := float64(time.Since(begin))
	alone = 100 * (cpuNanoseconds([]int{daemon}) - daemonBefore) / passed
	return alone, alone + 100*(cpuNanoseconds(helpers)-helpersBefore)/passed, err
}

func (p *peer) measureList(s *standing) error {
	for range 200 {
		before := time.Now()
		if _, err := p.running(context.Background()); err != nil {
			return err
		}
		s.list = append(s.list, time.Since(before))
	}
	return nil
}

// restart ends the daemon by SIGTERM, launches it again, and says how long after the launch all pods were listed.
func (p *peer) restart(number int) (time.Duration, error) {
	pid, err := p.daemonPid()
	if err != nil {
		return 0, err
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return 0, err
	}
	for syscall.Kill(pid, 0) == nil && !ended(pid) {
		time.Sleep(time.Millisecond)
	}
	begin := time.Now()
	launch := exec.Command(filepath.Join(p.folder, "launch"))
	launch.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := launch.Start(); err != nil {
		return 0, err
	}
	go launch.Wait()
	if err := os.WriteFile(filepath.Join(p.folder, "pid"), []byte(strconv.Itoa(launch.Process.Pid)), 0o644); err != nil {
		return 0, err
	}
	for time.Since(begin) < time.Minute {
		// A fresh connection each time: gRPC's own waits between its tries to connect are not the server's.
		fresh, err := dial(p.name, p.folder, strings.TrimPrefix(p.conn.Target(), "unix://"))
		if err != nil {
			return 0, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		listed, err := fresh.running(ctx)
		cancel()
		fresh.conn.Close()
		if err == nil && listed == number {
			return time.Since(begin), p.redial()
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, fmt.Errorf("%s: does not list %d containers a minute after its restart", p.name, number)
}

func (p *peer) redial() error {
	socket := strings.TrimPrefix(p.conn.Target(), "unix://")
	p.conn.Close()
	fresh, err := dial(p.name, p.folder, socket)
	if err == nil {
		p.runtime, p.images, p.conn = fresh.runtime, fresh.images, fresh.conn
	}
	return err
}

// ended: a zombie counts; who launched the first daemon waits for nobody.
func ended(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return strings.HasPrefix(rest, "Z")
}

func (p *peer) stand(number int, rest time.Duration) (s standing, err error) {
	daemon, err := p.daemonPid()
	if err != nil {
		return s, err
	}
	if s.daemonBefore, err = memoryOf(daemon); err != nil {
		return s, err
	}
	before, begin := processes(), time.Now()
	all, err := p.startPods(number)
	defer func() { err = errors.Join(err, p.removePods(all)) }()
	if err != nil {
		return s, err
	}
	s.startAll = time.Since(begin)
	var helpers []int
	helpers, s.helperNames = helpersOf(before)
	// Before the memory: what the start left behind has settled then.
	s.idleDaemon, s.idleAll, _ = cpuDuring(daemon, helpers, func() error { time.Sleep(rest); return nil })
	if err := s.measureMemory(daemon, helpers); err != nil {
		return s, err
	}
	if err := p.measureList(&s); err != nil {
		return s, err
	}
	s.restart, err = p.restart(number)
	return s, err
}

// pods measures one peer after the other: idle figures of both at once would be of neither.
func pods(peers []*peer, number int, rest time.Duration) error {
	var all []standing
	for _, p := range peers {
		s, err := p.stand(number, rest)
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	line := func(name, format string, value func(standing) float64) figure {
		f := figure{name: name, format: format}
		for _, s := range all {
			f.values = append(f.values, value(s))
		}
		return f
	}
	each := float64(number)
	printFigures(fmt.Sprintf("%d pods of one container each, host network", number), peers, []figure{
		line("start all, one after the other (s)", "%.2f", func(s standing) float64 { return s.startAll.Seconds() }),
		line("helper processes, PSS a pod (KiB)", "%.0f", func(s standing) float64 { return s.helpers.pss / each }),
		line("helper processes, private a pod (KiB)", "%.0f", func(s standing) float64 { return s.helpers.private / each }),
		line("helper processes, RSS a pod (KiB)", "%.0f", func(s standing) float64 { return s.helpers.rss / each }),
		line("daemon before the pods, PSS (MiB)", "%.1f", func(s standing) float64 { return s.daemonBefore.pss / 1024 }),
		line("daemon with the pods, PSS (MiB)", "%.1f", func(s standing) float64 { return s.daemon.pss / 1024 }),
		line("daemon with the pods, RSS (MiB)", "%.1f", func(s standing) float64 { return s.daemon.rss / 1024 }),
		line(fmt.Sprintf("daemon at rest for %.0f s (%% of a core)", rest.Seconds()), "%.3f", func(s standing) float64 { return s.idleDaemon }),
		line("daemon and helpers at rest (% of a core)", "%.3f", func(s standing) float64 { return s.idleAll }),
		line("ListContainers, median (ms)", "%.2f", func(s standing) float64 { return float64(median(s.list)) / 1e6 }),
		line("ListContainers, p95 (ms)", "%.2f", func(s standing) float64 { return float64(percentile(s.list, 95)) / 1e6 }),
		line("restart of the daemon until all are listed (ms)", "%.0f", func(s standing) float64 { return float64(s.restart) / 1e6 }),
	})
	fmt.Println()
	for i, p := range peers {
		fmt.Printf("Helper processes of %s: %s.\n", p.name, all[i].helperNames)
	}
	return nil
}
