import { useState } from "react";
import { Choice, Page, Panel } from "../../ui/kit.tsx";
import { EventList } from "./list.tsx";

const VIEWS = [
  { label: "Everything", filter: "" },
  { label: "Warnings and errors", filter: 'severity >= "WARNING"' },
  { label: "Registry", filter: 'service = "registry"' },
  { label: "DataHub", filter: 'service = "datahub"' },
  { label: "StrategyEngine", filter: 'service = "strategy"' },
];

export function EventsPage() {
  const [filter, setFilter] = useState("");
  return (
    <Page
      title="Events"
      actions={
        <Choice label="Show" value={filter} onChange={(event) => setFilter(event.target.value)}>
          {VIEWS.map((view) => (
            <option key={view.label} value={view.filter}>
              {view.label}
            </option>
          ))}
        </Choice>
      }
    >
      <Panel>
        <EventList key={filter} filter={filter} live empty="Nothing has been recorded yet." />
      </Panel>
    </Page>
  );
}
