// A provider in Go: daily bars and live trades of a made-up market, served to the platform as quasar.plugin.v1.
//
// It needs Go 1.26 and nothing else. Build it, pack it with its plugin.toml, and try or upload the zip:
//
//	CGO_ENABLED=0 go build -tags grpcnotrace -trimpath -ldflags="-s -w" -o tides . && zip tides.zip plugin.toml tides
//	quasar dev check tides.zip && quasar dev bars tides.zip MOON && quasar upload provider tides.zip
//
// The host starts the program in the jail with its two sockets open already: descriptor 3 listens for the host, descriptor
// 4 is connected to it. (A program in the jail cannot open Unix sockets of its own.)
package main

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"time"

	commonv1 "github.com/quasar-platform/quasar/gen/go/quasar/common/v1"
	datahubv1 "github.com/quasar-platform/quasar/gen/go/quasar/datahub/v1"
	pluginv1 "github.com/quasar-platform/quasar/gen/go/quasar/plugin/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	listenDescriptor = 3
	hostDescriptor   = 4
	day              = int64(24 * time.Hour)
	batchRows        = 4096
)

// price is the level of the tide at a time: deterministic, so that history and live data agree.
func price(ns int64) float64 {
	return math.Round(100*(100+10*math.Sin(float64(ns/int64(time.Second))/86400))) / 100
}

// plugin is the part that every plug-in serves.
type plugin struct {
	pluginv1.UnimplementedPluginServer
	stop       func()
	mu         sync.Mutex
	generation int64
}

func (p *plugin) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	return &pluginv1.DescribeResponse{
		ContractVersion: 1,
		PermitMode:      pluginv1.PermitMode_PERMIT_MODE_HOST_CHARGES,
		Manifest: &commonv1.Manifest{
			Name:        "tides",
			Kind:        commonv1.CodeKind_CODE_KIND_PROVIDER,
			ClassName:   "Tides",
			Language:    "go",
			Description: "A made-up market that follows the tides.",
			Capabilities: []commonv1.ProviderCapability{
				commonv1.ProviderCapability_PROVIDER_CAPABILITY_HISTORICAL,
				commonv1.ProviderCapability_PROVIDER_CAPABILITY_LIVE,
				commonv1.ProviderCapability_PROVIDER_CAPABILITY_SYMBOLS,
			},
			Intervals:    []string{"1d"},
			StreamsTicks: true,
			Concurrency:  4,
		},
	}, nil
}

func (p *plugin) Configure(_ context.Context, in *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.generation = in.Generation
	return &pluginv1.ConfigureResponse{Generation: in.Generation}, nil
}

func (p *plugin) Health(context.Context, *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := pluginv1.PluginState_PLUGIN_STATE_UNCONFIGURED
	if p.generation > 0 {
		state = pluginv1.PluginState_PLUGIN_STATE_READY
	}
	return &pluginv1.HealthResponse{State: state}, nil
}

func (p *plugin) Shutdown(context.Context, *pluginv1.ShutdownRequest) (*pluginv1.ShutdownResponse, error) {
	go p.stop()
	return &pluginv1.ShutdownResponse{}, nil
}

// provider serves the data.
type provider struct {
	pluginv1.UnimplementedProviderPluginServer
	mu      sync.Mutex
	streams map[string]map[uint32]string // stream id: series id: symbol
}

func (p *provider) FetchBars(in *pluginv1.FetchBarsRequest, out grpc.ServerStreamingServer[pluginv1.FetchBarsResponse]) error {
	for _, wanted := range in.Ranges {
		answer := &pluginv1.FetchBarsResponse{}
		state := &pluginv1.FetchStatus{SeriesId: wanted.SeriesId, State: pluginv1.FetchState_FETCH_STATE_DONE}
		if !known(wanted.Symbol) {
			state.State = pluginv1.FetchState_FETCH_STATE_UNKNOWN_SYMBOL
			state.Error = status.Newf(codes.NotFound, "symbol must be MOON or SUN, was %s", wanted.Symbol).Proto()
		}
		chunk := &datahubv1.BarChunk{SeriesId: wanted.SeriesId}
		first := (wanted.StartTimeNs + day - 1) / day * day
		for at := first; known(wanted.Symbol) && at < wanted.EndTimeNs; at += day {
			open, close := price(at), price(at+day)
			chunk.OpenTimeNs = append(chunk.OpenTimeNs, at)
			chunk.Open = append(chunk.Open, open)
			chunk.High = append(chunk.High, math.Max(open, close)+1)
			chunk.Low = append(chunk.Low, math.Min(open, close)-1)
			chunk.Close = append(chunk.Close, close)
			chunk.Volume = append(chunk.Volume, 1000)
			if len(chunk.OpenTimeNs) == batchRows {
				if err := out.Send(&pluginv1.FetchBarsResponse{Bars: []*datahubv1.BarChunk{chunk}}); err != nil {
					return err
				}
				chunk = &datahubv1.BarChunk{SeriesId: wanted.SeriesId}
			}
		}
		if len(chunk.OpenTimeNs) > 0 {
			answer.Bars = []*datahubv1.BarChunk{chunk}
		}
		answer.Statuses = []*pluginv1.FetchStatus{state}
		if err := out.Send(answer); err != nil {
			return err
		}
	}
	return nil
}

func (p *provider) StreamLive(in *pluginv1.StreamLiveRequest, out grpc.ServerStreamingServer[pluginv1.StreamLiveResponse]) error {
	p.change(in.StreamId, in.Subscriptions, nil)
	defer p.forget(in.StreamId)
	beat := time.NewTicker(20 * time.Millisecond)
	defer beat.Stop()
	for number := int64(1); ; number++ {
		select {
		case <-out.Context().Done():
			return nil
		case <-beat.C:
		}
		answer := &pluginv1.StreamLiveResponse{Sequence: uint64(number)}
		now := time.Now().UnixNano()
		p.mu.Lock()
		for series := range p.streams[in.StreamId] {
			answer.Ticks = append(answer.Ticks, &datahubv1.TickChunk{
				SeriesId:      series,
				EventTimeNs:   []int64{now},
				ReceiveTimeNs: []int64{now},
				Price:         []float64{price(now)},
				Size:          []float64{1},
				TradeId:       []int64{number},
			})
		}
		p.mu.Unlock()
		if err := out.Send(answer); err != nil {
			return err
		}
	}
}

func (p *provider) UpdateLiveSubscriptions(_ context.Context, in *pluginv1.UpdateLiveSubscriptionsRequest) (*pluginv1.UpdateLiveSubscriptionsResponse, error) {
	count := p.change(in.StreamId, in.Add, in.RemoveSeriesIds)
	return &pluginv1.UpdateLiveSubscriptionsResponse{SymbolCount: int32(count)}, nil
}

func (p *provider) ListSymbols(_ *pluginv1.ListSymbolsRequest, out grpc.ServerStreamingServer[pluginv1.ListSymbolsResponse]) error {
	page := &pluginv1.ListSymbolsResponse{}
	for _, symbol := range []string{"MOON", "SUN"} {
		page.Symbols = append(page.Symbols, &datahubv1.ProviderSymbol{Symbol: symbol})
	}
	return out.Send(page)
}

func (p *provider) change(stream string, add []*pluginv1.LiveSubscription, remove []uint32) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.streams[stream] == nil {
		p.streams[stream] = map[uint32]string{}
	}
	for _, series := range remove {
		delete(p.streams[stream], series)
	}
	for _, wanted := range add {
		if known(wanted.Symbol) {
			p.streams[stream][wanted.SeriesId] = wanted.Symbol
		}
	}
	return len(p.streams[stream])
}

func (p *provider) forget(stream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.streams, stream)
}

func known(symbol string) bool {
	return symbol == "MOON" || symbol == "SUN"
}

// watch ends the program when its host is gone. A plug-in that asks for permits dials gRPC on this connection instead.
func watch() {
	connection, err := net.FileConn(os.NewFile(hostDescriptor, "host"))
	if err != nil {
		return
	}
	if _, err = io.Copy(io.Discard, connection); err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		os.Exit(0)
	}
}

func main() {
	listener, err := net.FileListener(os.NewFile(listenDescriptor, "listen"))
	if err != nil {
		os.Stderr.WriteString("the host must pass a listening socket as descriptor 3: " + err.Error() + "\n")
		os.Exit(2)
	}
	server := grpc.NewServer()
	stop := func() {
		done := time.AfterFunc(time.Second, server.Stop)
		server.GracefulStop()
		done.Stop()
	}
	pluginv1.RegisterPluginServer(server, &plugin{stop: stop})
	pluginv1.RegisterProviderPluginServer(server, &provider{streams: map[string]map[uint32]string{}})
	if err := server.Serve(listener); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}
