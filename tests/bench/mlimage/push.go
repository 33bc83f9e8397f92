package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// A repository is one of a registry that speaks the distribution API over plain HTTP, as host:port/name.
type repository struct{ host, name string }

func parseRepository(name string) (repository, error) {
	host, path, found := strings.Cut(name, "/")
	if !found || path == "" || !strings.Contains(host, ":") {
		return repository{}, fmt.Errorf("%q is not HOST:PORT/NAME", name)
	}
	return repository{host, path}, nil
}

func (r repository) send(method, address string, body io.Reader, kind string) (*http.Response, error) {
	request, err := http.NewRequest(method, address, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", kind)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
	if answer.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, address, answer.Status, said)
	}
	return answer, nil
}

// A blob is what the registry has: Digest as sha256:HEX.
type blob struct {
	Digest string
	Size   int64
}

// put uploads a blob as it comes; its digest is known at the end only, which is when the registry asks for it.
func (r repository) put(from io.Reader) (blob, error) {
	const bytesKind = "application/octet-stream"
	answer, err := r.send(http.MethodPost, "http://"+r.host+"/v2/"+r.name+"/blobs/uploads/", nil, bytesKind)
	if err != nil {
		return blob{}, err
	}
	hash, counted := sha256.New(), &counter{}
	answer, err = r.send(http.MethodPatch, answer.Header.Get("Location"), io.TeeReader(from, io.MultiWriter(hash, counted)), bytesKind)
	if err != nil {
		return blob{}, err
	}
	end, err := url.Parse(answer.Header.Get("Location"))
	if err != nil {
		return blob{}, err
	}
	digest := "sha256:" + hex.EncodeToString(hash.Sum(nil))
	query := end.Query()
	query.Set("digest", digest)
	end.RawQuery = query.Encode()
	_, err = r.send(http.MethodPut, end.String(), nil, bytesKind)
	return blob{digest, counted.bytes}, err
}

// tag makes a manifest the one with that tag.
func (r repository) tag(tag string, manifest []byte, kind string) (blob, error) {
	_, err := r.send(http.MethodPut, "http://"+r.host+"/v2/"+r.name+"/manifests/"+tag, bytes.NewReader(manifest), kind)
	return blob{fmt.Sprintf("sha256:%x", sha256.Sum256(manifest)), int64(len(manifest))}, err
}

type counter struct{ bytes int64 }

func (c *counter) Write(data []byte) (int, error) {
	c.bytes += int64(len(data))
	return len(data), nil
}
