package main

// A random is a splitmix64 generator: the same seed gives the same image on every machine.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below is uniform in [0, n).
func (r *random) below(n int) int { return int(r.next() >> 32 * uint64(n) >> 32) }

// skewed is in [0, n) with small numbers far more often, as words of a language are.
func (r *random) skewed(n int) int {
	u := r.next() >> 32
	return int((u * u >> 32) * u >> 32 * uint64(n) >> 32)
}

// sixteenths are the powers of two between 1 and 2, times 65536.
var sixteenths = [16]int64{65536, 68438, 71468, 74632, 77936, 81386, 84990, 88752, 92682, 96785, 101070, 105545, 110218, 115098, 120194, 125515}

// size is log-normal, nearly: six dice of the spread's sixteenths of an octave, their middle at the median. Whole numbers
// only: what a floating point unit rounds differs from one to the next.
func (r *random) size(median int64, spread int) int64 {
	sum := 160 - 3*spread
	for range 6 {
		sum += r.below(spread + 1)
	}
	sum = max(sum, 0)
	return median * sixteenths[sum%16] >> 16 << (sum / 16) >> 10
}
