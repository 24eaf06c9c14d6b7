import type { CodeKind } from "@quasar/client/common/v1/values";
import { FindingSeverity, ValidationReportSchema, type Finding } from "@quasar/client/common/v1/code";
import { ConnectError } from "@connectrpc/connect";
import { useMutation } from "@tanstack/react-query";
import { Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import { code } from "../../rpc/clients.ts";
import { Button, Dialog, Failed, Field, State } from "../../ui/kit.tsx";

interface SecretRow {
  id: number;
  name: string;
  value: string;
}

const LARGEST = 4 * 1024 * 1024;

export function UploadDialog({
  kind,
  open,
  onClose,
  onDone,
}: {
  kind: CodeKind;
  open: boolean;
  onClose: () => void;
  onDone: () => void;
}) {
  const [file, setFile] = useState<File | null>(null);
  const [secrets, setSecrets] = useState<SecretRow[]>([]);
  const upload = useMutation({
    mutationFn: async (chosen: File) => {
      const content = new Uint8Array(await chosen.arrayBuffer());
      const filled = secrets.filter((row) => row.name);
      return code.uploadCode({
        kind,
        fileName: chosen.name,
        content,
        secrets: Object.fromEntries(filled.map((row) => [row.name, row.value])),
        activate: true,
      });
    },
    onSuccess: (answer) => {
      toast.success(`${answer.code?.ref?.name} version ${answer.version?.version} is active`);
      onDone();
      // What was found beside it stays to be read.
      if (!answer.report?.findings.length) close();
    },
  });
  const validate = useMutation({
    mutationFn: async (chosen: File) => {
      const content = new Uint8Array(await chosen.arrayBuffer());
      return code.validateCode({ subject: { case: "upload", value: { kind, fileName: chosen.name, content } } });
    },
  });
  const close = () => {
    setFile(null);
    setSecrets([]);
    upload.reset();
    validate.reset();
    onClose();
  };
  const tooLarge = file !== null && file.size > LARGEST;
  const busy = upload.isPending || validate.isPending;
  const report = validate.data?.report ?? upload.data?.report ?? rejectedReport(upload.error);
  return (
    <Dialog open={open} onClose={() => !busy && close()} title="Upload code">
      <div className="flex flex-col gap-4">
        <Field
          label="A Python file, or a zip of a package"
          type="file"
          accept=".py,.zip"
          onChange={(event) => {
            setFile(event.target.files?.[0] ?? null);
            upload.reset();
            validate.reset();
          }}
        />
        {tooLarge && <State tone="bad">The file must not be larger than 4 MiB.</State>}
        <fieldset className="flex flex-col gap-2">
          <legend className="mb-1 text-xs text-muted">Secrets: kept sealed, never shown again</legend>
          {secrets.map((row, index) => (
            <div key={row.id} className="grid grid-cols-[1fr_1fr_auto] items-end gap-2">
              <Field label="Name" value={row.name} onChange={(event) => edit(index, { name: event.target.value })} />
              <Field
                label="Value"
                type="password"
                autoComplete="off"
                value={row.value}
                onChange={(event) => edit(index, { value: event.target.value })}
              />
              <Button
                aria-label="Remove this secret"
                onClick={() => setSecrets(secrets.filter((other) => other !== row))}
              >
                <Trash2 size={14} aria-hidden />
              </Button>
            </div>
          ))}
          <div>
            <Button onClick={() => setSecrets([...secrets, { id: Date.now(), name: "", value: "" }])}>
              <Plus size={14} aria-hidden /> Add a secret
            </Button>
          </div>
        </fieldset>
        {report && <Findings findings={report.findings} passed={report.passed} />}
        {(upload.error ?? validate.error) && <Failed error={upload.error ?? validate.error} />}
        <div className="flex justify-end gap-2">
          <Button
            disabled={!file || tooLarge || busy}
            busy={validate.isPending}
            onClick={() => {
              upload.reset();
              if (file) validate.mutate(file);
            }}
          >
            Check only
          </Button>
          {upload.isSuccess ? (
            <Button look="primary" onClick={close}>
              Done
            </Button>
          ) : (
            <Button
              look="primary"
              disabled={!file || tooLarge || busy}
              busy={upload.isPending}
              onClick={() => {
                validate.reset();
                if (file) upload.mutate(file);
              }}
            >
              Upload and activate
            </Button>
          )}
        </div>
      </div>
    </Dialog>
  );

  function edit(index: number, change: Partial<SecretRow>) {
    setSecrets(secrets.map((row, i) => (i === index ? { ...row, ...change } : row)));
  }
}

/** The report that comes with the refusal of code. */
function rejectedReport(error: unknown) {
  return error ? ConnectError.from(error).findDetails(ValidationReportSchema)[0] : undefined;
}

function Findings({ findings, passed }: { findings: Finding[]; passed: boolean }) {
  return (
    <div className="flex flex-col gap-2 rounded-md border border-line p-3 text-sm">
      <State tone={passed ? "good" : "bad"}>
        {passed ? "The code passes validation." : "The code cannot be used yet."}
      </State>
      <ul className="flex flex-col gap-2">
        {findings.map((finding) => (
          <li key={`${finding.rule}:${finding.file}:${finding.line}:${finding.column}:${finding.message}`}>
            <State tone={finding.severity === FindingSeverity.ERROR ? "bad" : "warn"}>
              {finding.line > 0 && <span className="num">line {finding.line}</span>} {finding.message}
            </State>
            {finding.remedy && <div className="pl-5 text-xs text-muted">{finding.remedy}</div>}
          </li>
        ))}
      </ul>
    </div>
  );
}
