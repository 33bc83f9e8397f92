// Apicheck compares our runtime.v1 (cri/proto, as a descriptor set made by protoc) with the published Go module of CRI:
// every message, field, enum value and method, in both directions. It prints each difference and ends with 1 if there is one.
//
//	apicheck -descriptors build/dev/cri/proto/cri.desc
package main

import (
	"flag"
	"fmt"
	"os"
	"sort"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const apiPackage = "runtime.v1"

// A facts maps the name of each thing in the API to what the wire knows of it.
type facts map[string]string

func (f facts) addFile(file protoreflect.FileDescriptor) {
	f.addMessages(file.Messages())
	f.addEnums(file.Enums())
	services := file.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			m := methods.Get(j)
			f[string(m.FullName())] = fmt.Sprintf("method (%s%s) returns (%s%s)", stream(m.IsStreamingClient()),
				m.Input().FullName(), stream(m.IsStreamingServer()), m.Output().FullName())
		}
	}
}

func stream(yes bool) string {
	if yes {
		return "stream "
	}
	return ""
}

func (f facts) addMessages(messages protoreflect.MessageDescriptors) {
	for i := range messages.Len() {
		message := messages.Get(i)
		f[string(message.FullName())] = "message"
		fields := message.Fields()
		for j := range fields.Len() {
			f[string(fields.Get(j).FullName())] = describe(fields.Get(j))
		}
		f.addMessages(message.Messages())
		f.addEnums(message.Enums())
	}
}

func (f facts) addEnums(enums protoreflect.EnumDescriptors) {
	for i := range enums.Len() {
		enum := enums.Get(i)
		f[string(enum.FullName())] = "enum"
		values := enum.Values()
		for j := range values.Len() {
			// Values live beside their enum in the name space; the enum's name makes a moved one visible.
			key := string(enum.FullName()) + "." + string(values.Get(j).Name())
			f[key] = fmt.Sprintf("value %d", values.Get(j).Number())
		}
	}
}

func describe(field protoreflect.FieldDescriptor) string {
	kind := field.Kind().String()
	switch {
	case field.Message() != nil:
		kind += " " + string(field.Message().FullName())
	case field.Enum() != nil:
		kind += " " + string(field.Enum().FullName())
	}
	text := fmt.Sprintf("field %d: %s %s", field.Number(), field.Cardinality(), kind)
	if field.IsPacked() {
		text += ", packed"
	}
	if field.HasOptionalKeyword() {
		text += ", with presence"
	}
	if oneof := field.ContainingOneof(); oneof != nil {
		text += ", in oneof " + string(oneof.Name())
	}
	return text
}

func readOurs(path string) (facts, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("%s: not a descriptor set: %w", path, err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ours := facts{}
	inPackage(files, func(file protoreflect.FileDescriptor) { ours.addFile(file) })
	return ours, nil
}

func inPackage(files *protoregistry.Files, visit func(protoreflect.FileDescriptor)) {
	files.RangeFilesByPackage(apiPackage, func(file protoreflect.FileDescriptor) bool {
		visit(file)
		return true
	})
}

func compare(ours, theirs facts) []string {
	var differences []string
	for name, want := range theirs {
		if have, found := ours[name]; !found {
			differences = append(differences, fmt.Sprintf("%s: we lack it (%s)", name, want))
		} else if have != want {
			differences = append(differences, fmt.Sprintf("%s: ours is %q, theirs %q", name, have, want))
		}
	}
	for name, have := range ours {
		if _, found := theirs[name]; !found {
			differences = append(differences, fmt.Sprintf("%s: only we have it (%s)", name, have))
		}
	}
	sort.Strings(differences)
	return differences
}

func main() {
	descriptors := flag.String("descriptors", "", "descriptor set of cri/proto, as protoc writes it")
	flag.Parse()
	ours, err := readOurs(*descriptors)
	if err != nil {
		fmt.Fprintln(os.Stderr, "apicheck:", err)
		os.Exit(2)
	}
	theirs := facts{}
	theirs.addFile((&cri.VersionRequest{}).ProtoReflect().Descriptor().ParentFile())
	differences := compare(ours, theirs)
	for _, difference := range differences {
		fmt.Println(difference)
	}
	fmt.Printf("%d things in our %s, %d in the published one, %d differences\n", len(ours), apiPackage, len(theirs), len(differences))
	if len(differences) > 0 || len(ours) == 0 {
		os.Exit(1)
	}
}
