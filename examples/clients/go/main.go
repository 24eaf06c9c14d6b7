// Subscribes to symbols, lists what is subscribed and prints the first live trades.
//
//	QUASAR_TOKEN=$(cat ~/.quasar/admin.token) go run . -symbols BTC/USD,ETH/USD -ticks 50
//
// QUASAR_REGISTRY_ADDRESS and QUASAR_DATAHUB_ADDRESS name the services; by default they are those of this machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"strings"
	"time"

	commonv1 "github.com/quasar-platform/quasar/gen/go/quasar/common/v1"
	datahubv1 "github.com/quasar-platform/quasar/gen/go/quasar/datahub/v1"
	registryv1 "github.com/quasar-platform/quasar/gen/go/quasar/registry/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func main() {
	provider := flag.String("provider", "simulated", "the source")
	symbols := flag.String("symbols", "BTC/USD,ETH/USD,SOL/USD,XRP/USD", "what to stream, separated by commas")
	wanted := flag.Int("ticks", 50, "how many trades to print")
	within := flag.Duration("within", time.Minute, "how long to wait for them")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *within)
	defer cancel()
	if err := run(ctx, *provider, strings.Split(*symbols, ","), *wanted); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, provider string, symbols []string, wanted int) error {
	registry, err := connect("QUASAR_REGISTRY_ADDRESS", "localhost:8080")
	if err != nil {
		return err
	}
	defer registry.Close()
	datahub, err := connect("QUASAR_DATAHUB_ADDRESS", "localhost:8081")
	if err != nil {
		return err
	}
	defer datahub.Close()

	subscriptions := registryv1.NewSubscriptionServiceClient(registry)
	if err := subscribe(ctx, subscriptions, provider, symbols); err != nil {
		return err
	}
	if err := list(ctx, subscriptions); err != nil {
		return err
	}
	return stream(ctx, datahubv1.NewMarketDataServiceClient(datahub), provider, symbols, wanted)
}

// bearer sends the token with every call.
type bearer string

func (token bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false } // the services of this machine speak plain text

func connect(variable, usual string) (*grpc.ClientConn, error) {
	token := os.Getenv("QUASAR_TOKEN")
	if token == "" {
		return nil, errors.New("QUASAR_TOKEN must hold a token; `quasar token create NAME --role operator` makes one")
	}
	target := usual
	if address := os.Getenv(variable); address != "" {
		target = address
	}
	return grpc.NewClient(target,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(bearer(token)))
}

func subscribe(
	ctx context.Context, client registryv1.SubscriptionServiceClient, provider string, symbols []string,
) error {
	for _, symbol := range symbols {
		_, err := client.CreateSubscription(ctx, &registryv1.CreateSubscriptionRequest{
			Subscription: &registryv1.NewSubscription{
				Provider: provider,
				Selector: &registryv1.Selector{Selection: &registryv1.Selector_Symbol{Symbol: symbol}},
				Interval: "1min",
				Live:     true,
			},
		})
		switch status.Code(err) {
		case codes.OK:
			fmt.Printf("subscribed   %s:%s\n", provider, symbol)
		case codes.AlreadyExists:
			fmt.Printf("subscribed   %s:%s (was there)\n", provider, symbol)
		default:
			return fmt.Errorf("subscribe to %s:%s: %w", provider, symbol, err)
		}
	}
	return nil
}

func list(ctx context.Context, client registryv1.SubscriptionServiceClient) error {
	for token := ""; ; {
		page, err := client.ListSubscribedSeries(ctx, &registryv1.ListSubscribedSeriesRequest{PageToken: token})
		if err != nil {
			return fmt.Errorf("list series: %w", err)
		}
		for _, series := range page.GetSeries() {
			key := series.GetKey()
			fmt.Printf("series       %s:%s@%s\n", key.GetProvider(), key.GetSymbol(), key.GetInterval())
		}
		if token = page.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

func stream(
	ctx context.Context, client datahubv1.MarketDataServiceClient, provider string, symbols []string, wanted int,
) error {
	chosen := &datahubv1.ProviderSymbols{Provider: provider, Symbols: symbols}
	selector := &datahubv1.MarketDataSelector{
		Target: &datahubv1.MarketDataSelector_Symbols{Symbols: &datahubv1.SymbolSelector{
			Symbols: &datahubv1.SymbolSelector_ProviderSymbols{ProviderSymbols: chosen},
		}},
		Contents: []datahubv1.StreamContent{datahubv1.StreamContent_STREAM_CONTENT_TRADES},
	}
	envelopes, err := client.StreamMarketData(ctx, &datahubv1.StreamMarketDataRequest{
		Selectors: []*datahubv1.MarketDataSelector{selector},
	})
	if err != nil {
		return err
	}
	names := map[uint32]*commonv1.SeriesKey{}
	for seen := 0; seen < wanted; {
		envelope, err := envelopes.Recv()
		if err != nil {
			return fmt.Errorf("after %d of %d trades: %w", seen, wanted, err)
		}
		for _, info := range envelope.GetSeries() {
			names[info.GetSeriesId()] = info.GetKey()
		}
		for _, chunk := range envelope.GetTicks() { // columns: row i of each belongs together
			for i, ns := range chunk.GetEventTimeNs() {
				if seen++; seen > wanted {
					break
				}
				when := time.Unix(0, ns).UTC().Format("15:04:05.000")
				name := names[chunk.GetSeriesId()].GetSymbol()
				fmt.Printf("trade %5d  %s %s %g × %g\n", seen, when, name, at(chunk.GetPrice(), i), at(chunk.GetSize(), i))
			}
		}
	}
	return nil
}

// at returns a row of a column; what no row has is sent as no column.
func at(column []float64, row int) float64 {
	if row < len(column) {
		return column[row]
	}
	return math.NaN()
}
