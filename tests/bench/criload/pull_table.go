package main

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// A cost is a row of the table: what, in which unit, with how many digits.
type cost struct{ name, format string }

var (
	pullSeconds     = cost{"PullImage (s)", "%.2f"}
	syncSeconds     = cost{"syncfs afterwards (s)", "%.2f"}
	durableSeconds  = cost{"PullImage and syncfs (s)", "%.2f"}
	cpuSeconds      = cost{"CPU of daemon and children (core-seconds)", "%.2f"}
	registrySeconds = cost{"CPU of the registry (core-seconds)", "%.2f"}
	otherCores      = cost{"CPU of all others meanwhile (cores)", "%.2f"}
	peakMemory      = cost{"peak RSS, daemon and children together (MiB)", "%.0f"}
	diskBytes       = cost{"disk (MB)", "%.0f"}
	warmMillis      = cost{"PullImage of what is there (ms)", "%.1f"}
	removeSeconds   = cost{"RemoveImage (s)", "%.3f"}
	goneSeconds     = cost{"RemoveImage until the files are gone (s)", "%.3f"}

	pullRows = []cost{pullSeconds, syncSeconds, durableSeconds, cpuSeconds, registrySeconds, otherCores, peakMemory, diskBytes, warmMillis,
		removeSeconds, goneSeconds}
)

// costs has the values of each row, a value a round; and the processes of the last round.
type costs struct {
	rows map[string][]float64
	each *map[string]*kind
}

func newCosts() costs { return costs{map[string][]float64{}, new(map[string]*kind)} }

func (c costs) add(what cost, value float64) { c.rows[what.name] = append(c.rows[what.name], value) }

func (c costs) keep(each map[string]*kind) { *c.each = each }

func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func printPulls(title string, peers []*peer, results map[string]costs) {
	head := []string{"what"}
	for _, p := range peers {
		head = append(head, p.name+" median", "best")
	}
	printHead(title, append(head, ratioHead(peers)...)...)
	for _, row := range pullRows {
		cells := []string{row.name}
		var medians []float64
		for _, p := range peers {
			values := results[p.name].rows[row.name]
			cells = append(cells, fmt.Sprintf(row.format, middle(values)), fmt.Sprintf(row.format, slices.Min(values)))
			if shown, _ := strconv.ParseFloat(cells[len(cells)-2], 64); shown > 0 { // what is nought in the table has no ratio
				medians = append(medians, middle(values))
			}
		}
		if len(medians) < len(peers) {
			medians = nil
		}
		if len(peers) > 1 {
			cells = append(cells, ratio(medians))
		}
		printRow(cells...)
	}
	fmt.Println()
	for _, p := range peers {
		fmt.Printf("Processes of %s in the last round: %s.\n", p.name, describe(*results[p.name].each))
	}
}

func describe(each map[string]*kind) string {
	var all []string
	for name, k := range each {
		all = append(all, fmt.Sprintf("%d %s (%.2f core-seconds, the biggest %.0f MiB)", len(k.pids), name, k.cpu(), k.most))
	}
	sort.Strings(all)
	return strings.Join(all, "; ")
}
