package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

func median(values []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// percentile is by nearest rank.
func percentile(values []time.Duration, percent float64) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(percent / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e6) }

func printRow(cells ...string) { fmt.Println("| " + strings.Join(cells, " | ") + " |") }

func printHead(title string, cells ...string) {
	fmt.Printf("\n**%s**\n\n", title)
	printRow(cells...)
	fmt.Println("|" + strings.Repeat("---|", len(cells)))
}

// ratio says how many times the first peer's value the last one's is; empty when there is one peer only.
func ratio(values []float64) string {
	if len(values) < 2 || values[0] <= 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", values[len(values)-1]/values[0])
}

func ratioHead(peers []*peer) []string {
	if len(peers) < 2 {
		return nil
	}
	return []string{fmt.Sprintf("%s / %s", peers[len(peers)-1].name, peers[0].name)}
}

func printTimings(title string, rows []string, peers []*peer, results map[string]timings) {
	head := []string{"call"}
	for _, p := range peers {
		head = append(head, p.name+" median", "p95")
	}
	printHead(title, append(head, ratioHead(peers)...)...)
	for _, row := range rows {
		cells := []string{row}
		var medians []float64
		for _, p := range peers {
			values := results[p.name][row]
			cells = append(cells, milliseconds(median(values)), milliseconds(percentile(values, 95)))
			medians = append(medians, float64(median(values)))
		}
		if len(peers) > 1 {
			cells = append(cells, ratio(medians))
		}
		printRow(cells...)
	}
}

// A figure is one line of a table with a value for each peer; a negative value was not measured.
type figure struct {
	name   string
	format string
	values []float64
}

func printFigures(title string, peers []*peer, figures []figure) {
	head := []string{"what"}
	for _, p := range peers {
		head = append(head, p.name)
	}
	printHead(title, append(head, ratioHead(peers)...)...)
	for _, f := range figures {
		cells := []string{f.name}
		for _, value := range f.values {
			if value < 0 {
				cells = append(cells, "not measured")
			} else {
				cells = append(cells, fmt.Sprintf(f.format, value))
			}
		}
		if len(peers) > 1 {
			cells = append(cells, ratio(f.values))
		}
		printRow(cells...)
	}
}
