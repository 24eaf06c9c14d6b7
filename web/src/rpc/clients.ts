import { createClient } from "@connectrpc/connect";
import { CollectionService } from "@quasar/client/datahub/v1/collection_service";
import { MarketDataService } from "@quasar/client/datahub/v1/market_data_service";
import { ProviderService } from "@quasar/client/datahub/v1/provider_service";
import { EventService } from "@quasar/client/ops/v1/event_service";
import { OperationService } from "@quasar/client/ops/v1/operation_service";
import { SystemService } from "@quasar/client/ops/v1/system_service";
import { AssetService } from "@quasar/client/registry/v1/asset_service";
import { CodeService } from "@quasar/client/registry/v1/code_service";
import { SubscriptionService } from "@quasar/client/registry/v1/subscription_service";
import { BacktestService } from "@quasar/client/strategy/v1/backtest_service";
import { PolicyService } from "@quasar/client/strategy/v1/policy_service";
import { PortfolioService } from "@quasar/client/strategy/v1/portfolio_service";
import { StrategyService } from "@quasar/client/strategy/v1/strategy_service";
import { TradingService } from "@quasar/client/strategy/v1/trading_service";
import { byService, gateway } from "./transport.ts";

export const code = createClient(CodeService, gateway);
export const assets = createClient(AssetService, gateway);
export const subscriptions = createClient(SubscriptionService, gateway);
export const marketData = createClient(MarketDataService, gateway);
export const collection = createClient(CollectionService, gateway);
export const providers = createClient(ProviderService, gateway);
export const strategies = createClient(StrategyService, gateway);
export const backtests = createClient(BacktestService, gateway);
export const trading = createClient(TradingService, gateway);
export const policy = createClient(PolicyService, gateway);
export const portfolio = createClient(PortfolioService, gateway);
export const events = createClient(EventService, gateway);
export const system = {
  registry: createClient(SystemService, byService.registry),
  datahub: createClient(SystemService, byService.datahub),
  strategy: createClient(SystemService, byService.strategy),
};
export const operations = {
  registry: createClient(OperationService, byService.registry),
  datahub: createClient(OperationService, byService.datahub),
  strategy: createClient(OperationService, byService.strategy),
};
