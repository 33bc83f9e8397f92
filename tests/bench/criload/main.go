// Criload does to CRI servers what a kubelet does, measures what it costs, and prints tables. run.sh starts it.
//
//	criload [-number N] [-pods N] [-rest 60s] [-rounds N] [-parts PART,PART] NAME=FOLDER=SOCKET…
//
// FOLDER has the files launch, a program that becomes the daemon, and pid. Ratios are the last server's value by the first's.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

func connect(arguments []string) ([]*peer, error) {
	var peers []*peer
	for _, argument := range arguments {
		parts := strings.SplitN(argument, "=", 3)
		if len(parts) != 3 {
			return nil, fmt.Errorf("%q is not NAME=FOLDER=SOCKET", argument)
		}
		p, err := dial(parts[0], parts[1], parts[2])
		if err != nil {
			return nil, err
		}
		if err := p.pull(); err != nil {
			return nil, fmt.Errorf("%s: pull %s: %w", p.name, image, err)
		}
		peers = append(peers, p)
	}
	if len(peers) == 0 {
		return nil, fmt.Errorf("no server is named")
	}
	return peers, nil
}

func measure() error {
	number := flag.Int("number", 30, "cycles")
	count := flag.Int("pods", 50, "pods that stand at the same time")
	rest := flag.Duration("rest", time.Minute, "how long the idle servers are watched")
	parts := flag.String("parts", "cycle,bridge,streams,logs,list,pods,kubelet,stats,syscalls", "what to measure")
	image := pullFlags()
	flag.Parse()
	peers, err := connect(flag.Args())
	if err != nil {
		return err
	}
	for part := range strings.SplitSeq(*parts, ",") {
		switch part {
		case "cycle":
			err = cycles(peers, *number, "host's")
		case "bridge":
			err = bridgeCycles(peers, *number)
		case "streams":
			err = streams(peers, *number)
		case "logs":
			err = logs(peers)
		case "list":
			err = list(peers)
		case "kubelet":
			err = kubelet(peers, *count, *rest)
		case "pods":
			err = pods(peers, *count, *rest)
		case "stats":
			err = statistics(peers, *count)
		case "pull":
			err = pulls(peers, image)
		case "syscalls":
			syscalls(peers)
		default:
			err = fmt.Errorf("nothing is known of a part %q", part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if err := measure(); err != nil {
		fmt.Fprintln(os.Stderr, "criload:", err)
		os.Exit(1)
	}
}
