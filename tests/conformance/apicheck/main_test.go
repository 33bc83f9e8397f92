package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// published gives the API's file as a value that a test may spoil.
func published() *descriptorpb.FileDescriptorProto {
	file := (&cri.VersionRequest{}).ProtoReflect().Descriptor().ParentFile()
	return proto.Clone(protodesc.ToFileDescriptorProto(file)).(*descriptorpb.FileDescriptorProto)
}

func factsOf(t *testing.T, file *descriptorpb.FileDescriptorProto) facts {
	t.Helper()
	built, err := protodesc.NewFile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := facts{}
	f.addFile(built)
	return f
}

func message(t *testing.T, file *descriptorpb.FileDescriptorProto, name string) *descriptorpb.DescriptorProto {
	t.Helper()
	for _, m := range file.MessageType {
		if m.GetName() == name {
			return m
		}
	}
	t.Fatalf("no message %s", name)
	return nil
}

func TestEachKindOfDifferenceIsSeen(t *testing.T) {
	for _, test := range []struct {
		what  string
		spoil func(*descriptorpb.FileDescriptorProto)
		want  string
	}{
		{"nothing", func(*descriptorpb.FileDescriptorProto) {}, ""},
		{"number", func(f *descriptorpb.FileDescriptorProto) {
			message(t, f, "Mount").Field[0].Number = proto.Int32(99)
		}, "runtime.v1.Mount.container_path: ours is"},
		{"type", func(f *descriptorpb.FileDescriptorProto) {
			message(t, f, "Mount").Field[0].Type = descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum()
		}, "runtime.v1.Mount.container_path: ours is"},
		{"label", func(f *descriptorpb.FileDescriptorProto) {
			message(t, f, "Mount").Field[0].Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		}, "runtime.v1.Mount.container_path: ours is"},
		{"name", func(f *descriptorpb.FileDescriptorProto) {
			message(t, f, "Mount").Field[0].Name = proto.String("where")
		}, "runtime.v1.Mount.container_path: we lack it"},
		{"enum value", func(f *descriptorpb.FileDescriptorProto) {
			f.EnumType[0].Value[1].Number = proto.Int32(77)
		}, "ours is \"value 77\""},
		{"streaming", func(f *descriptorpb.FileDescriptorProto) {
			f.Service[0].Method[0].ServerStreaming = proto.Bool(true)
		}, "runtime.v1.RuntimeService.Version: ours is"},
		{"method", func(f *descriptorpb.FileDescriptorProto) {
			f.Service[0].Method = f.Service[0].Method[1:]
		}, "runtime.v1.RuntimeService.Version: we lack it"},
	} {
		t.Run(test.what, func(t *testing.T) {
			file := published()
			test.spoil(file)
			got := strings.Join(compare(factsOf(t, file), factsOf(t, published())), "\n")
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q in it", got, test.want)
			}
		})
	}
}
