// Streamclient is the far end of an Exec, Attach or PortForward URL, made of client-go's own executors and dialers, as
// kubectl and the kubelet are. It moves data with checksums and prints one JSON document of what has happened.
//
//	streamclient url     exec|attach|portforward ASK…         asks for URLs and does nothing with them
//	streamclient session ASK… [flags] [-- COMMAND…]           one exec or attach
//	streamclient repeat  ASK… --times N [flags] [-- COMMAND…] the same, many times; counts how they ended
//	streamclient forward ASK… --ports P,P [flags]             pairs of streams in one port-forward session
//
// ASK is --url URL, or --cri SOCKET with --container ID or --pod ID: then the server is asked for a URL first.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

func main() {
	klog.SetLogger(logr.Discard()) // what client-go says to itself, of every dropped connection
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: streamclient url|session|repeat|forward …"))
	}
	commands := map[string]func(context.Context, []string) (any, error){
		"url": askForURLs, "session": oneSession, "repeat": manySessions, "forward": forwardPorts,
	}
	command, known := commands[os.Args[1]]
	if !known {
		fail(fmt.Errorf("streamclient does not know %q", os.Args[1]))
	}
	document, err := command(context.Background(), os.Args[2:])
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(document); err != nil {
		fail(err)
	}
}

// Of the program's own: what a session comes to is in the document.
func fail(err error) {
	fmt.Fprintln(os.Stderr, "streamclient:", err)
	os.Exit(2)
}

// What all commands understand.
type options struct {
	ask
	transport string
	rate      int
	timeout   time.Duration
}

func newFlags(name string) (*flag.FlagSet, *options) {
	o := &options{}
	flags := flag.NewFlagSet(name, flag.ExitOnError)
	flags.StringVar(&o.url, "url", "", "URL of the stream")
	flags.StringVar(&o.socket, "cri", "", "socket of the CRI server that is asked for a URL")
	flags.StringVar(&o.container, "container", "", "container of an exec or attach")
	flags.StringVar(&o.pod, "pod", "", "pod of a port-forward")
	flags.StringVar(&o.ca, "ca", "", "PEM file of who must have signed the server's certificate; without: anybody")
	flags.StringVar(&o.certificate, "cert", "", "PEM file of our certificate")
	flags.StringVar(&o.key, "key", "", "PEM file of its key")
	flags.StringVar(&o.kind, "kind", "exec", "exec or attach")
	flags.StringVar(&o.transport, "transport", "spdy", "spdy, or websocket (for forward: SPDY inside of it)")
	flags.IntVar(&o.rate, "rate", 0, "bytes a second that are read; 0: as fast as they come")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Minute, "when to give up")
	return flags, o
}

func askForURLs(ctx context.Context, arguments []string) (any, error) {
	if len(arguments) == 0 {
		return nil, fmt.Errorf("url of what? exec, attach or portforward")
	}
	s := &session{}
	flags, o := sessionFlags("url", s)
	times := flags.Int("times", 1, "how many to ask for")
	_ = flags.Parse(arguments[1:])
	o.kind, s.command = arguments[0], flags.Args()
	result := &asked{}
	for range *times {
		found, err := o.find(ctx, s)
		if err != nil {
			result.Error = err.Error()
			break
		}
		result.URLs = append(result.URLs, found)
	}
	return result, nil
}

type asked struct {
	URLs  []string `json:"urls"`
	Error string   `json:"error"` // of the request after them
}
