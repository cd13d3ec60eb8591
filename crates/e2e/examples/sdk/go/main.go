// gRPC's own Go library with stubs made from the .proto files.
//
// Usage: clients CASE MODEL. Prints what was seen, or fails. GATEWAY is host and port.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	v1 "cube.example/clients/gen/cube/inference/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

const schema = `{"type":"object","properties":{"answer":{"type":"string","maxLength":20}},
	"required":["answer"],"additionalProperties":false}`

var (
	ctx       = context.Background()
	model     = os.Args[2]
	channel   = connect()
	inference = v1.NewInferenceServiceClient(channel)
	cases     = map[string]func() string{
		"models": models, "chat": chat, "stream": stream, "schema": constrained, "tools": tools, "completion": completion,
		"embedding": embedding, "refused": refused, "deadline": deadline, "lapse": lapse,
	}
)

func main() {
	fmt.Println(cases[os.Args[1]]())
}

func connect() *grpc.ClientConn {
	ca := must(credentials.NewClientTLSFromFile(os.Getenv("SSL_CERT_FILE"), ""))
	return must(grpc.NewClient(os.Getenv("GATEWAY"), grpc.WithTransportCredentials(ca)))
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func of[T any](value T) *T { return &value }

func spec(maxTokens uint32) *v1.ChatSpec {
	question := &v1.ContentPart{Part: &v1.ContentPart_Text{Text: "What is gravity?"}}
	return &v1.ChatSpec{
		Model:    model,
		Messages: []*v1.Message{{Role: v1.Role_ROLE_USER, Content: []*v1.ContentPart{question}}},
		Sampling: &v1.Sampling{Temperature: of(float32(0)), Seed: of(int64(1)), MaxTokens: &maxTokens},
	}
}

// events gives each to see, and how the stream ended.
func events(spec *v1.ChatSpec, see func(*v1.ChatEvent)) error {
	answers := must(inference.StreamChat(ctx, &v1.StreamChatRequest{Spec: spec}))
	for sequence := uint64(0); ; sequence++ {
		answer, err := answers.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if answer.Event.Sequence != sequence {
			log.Fatal("an event is missing")
		}
		see(answer.Event)
	}
}

func text(message *v1.Message) string {
	var text strings.Builder
	for _, part := range message.Content {
		text.WriteString(part.GetText())
	}
	return strings.TrimSpace(text.String())
}

// reason is the code, and the reason in the details.
func reason(err error) string {
	failed := status.Convert(err)
	info := failed.Details()[0].(*errdetails.ErrorInfo)
	return fmt.Sprint(failed.Code(), " ", info.Reason)
}

func models() string {
	answer := must(v1.NewModelServiceClient(channel).ListModels(ctx, &v1.ListModelsRequest{}))
	var names []string
	for _, model := range answer.Models {
		names = append(names, strings.TrimPrefix(model.Name, "models/"))
	}
	return strings.Join(names, ",")
}

func chat() string {
	answer := must(inference.Chat(ctx, &v1.ChatRequest{Spec: spec(24)}))
	if answer.Usage.CompletionTokens == 0 {
		log.Fatal("no usage")
	}
	return text(answer.Message)
}

func stream() string {
	var text strings.Builder
	var seen []*v1.ChatEvent
	must(0, events(spec(24), func(event *v1.ChatEvent) {
		seen = append(seen, event)
		text.WriteString(event.GetText().GetText())
	}))
	if seen[0].GetStarted() == nil || seen[len(seen)-2].GetFinished() == nil || seen[len(seen)-1].GetUsage() == nil {
		log.Fatal("out of order")
	}
	return strings.TrimSpace(text.String())
}

func constrained() string {
	asked := spec(200)
	form := &v1.JsonSchema{Name: "answer", Schema: schema}
	asked.ResponseFormat = &v1.ResponseFormat{Format: &v1.ResponseFormat_JsonSchema{JsonSchema: form}}
	answer := must(inference.Chat(ctx, &v1.ChatRequest{Spec: asked}))
	var object map[string]string
	must(0, json.Unmarshal([]byte(text(answer.Message)), &object))
	_, there := object["answer"]
	return fmt.Sprint("answer: ", there)
}

func tools() string {
	asked := spec(24)
	asked.Tools = []*v1.Tool{{Name: "weather", ParametersJsonSchema: `{"type":"object"}`}}
	var called strings.Builder
	must(0, events(asked, func(event *v1.ChatEvent) {
		called.WriteString(event.GetToolCallStarted().GetName() + event.GetToolCallDelta().GetArguments())
	}))
	return called.String()
}

func completion() string {
	sampling := &v1.Sampling{Temperature: of(float32(0)), MaxTokens: of(uint32(8))}
	asked := &v1.CompletionSpec{Model: model, Prompt: "Gravity is", Sampling: sampling}
	answer := must(inference.Complete(ctx, &v1.CompleteRequest{Spec: asked}))
	return fmt.Sprint(answer.Text != "")
}

func embedding() string {
	asked := &v1.EmbedRequest{Model: model, Inputs: []string{"gravity", "light"}}
	found := must(inference.Embed(ctx, asked)).Embeddings
	return fmt.Sprint(len(found), " ", len(found[0].Values) == len(found[1].Values))
}

func refused() string {
	_, err := inference.Chat(ctx, &v1.ChatRequest{Spec: spec(24)})
	return reason(err)
}

func deadline() string {
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := inference.Chat(soon, &v1.ChatRequest{Spec: spec(24)})
	return status.Code(err).String()
}

func lapse() string {
	err := events(spec(24), func(event *v1.ChatEvent) {
		if event.GetText() != nil {
			fmt.Println("first")
		}
	})
	if err == nil {
		return "complete"
	}
	return "raised " + reason(err)
}
