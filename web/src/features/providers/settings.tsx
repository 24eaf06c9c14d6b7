// What an operator may change of a provider: its secrets, which are never read back, and its preferences.

import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import type { PreferenceField } from "@quasar/client/common/v1/code";
import type { CodeKind } from "@quasar/client/common/v1/values";
import type { SecretName } from "@quasar/client/registry/v1/code";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { toast } from "sonner";
import { code } from "../../rpc/clients.ts";
import { Button, Dialog, Failed, Field, Result } from "../../ui/kit.tsx";
import { PreferenceInput } from "./preference.tsx";
import { changeOf, valueAt } from "./preferences.ts";

export interface Subject {
  kind: CodeKind;
  name: string;
}

export function SettingsDialog({ subject, onClose }: { subject: Subject | null; onClose: () => void }) {
  return (
    <Dialog open={subject !== null} onClose={onClose} title={`Settings of ${subject?.name ?? ""}`}>
      {subject && <Settings key={subject.name} subject={subject} onClose={onClose} />}
    </Dialog>
  );
}

function Settings({ subject, onClose }: { subject: Subject; onClose: () => void }) {
  const found = useQuery({
    queryKey: ["settings", subject.kind, subject.name],
    queryFn: async () => {
      const [schema, held, names] = await Promise.all([
        code.getPreferencesSchema({ ref: subject }),
        code.getPreferences({ ref: subject }),
        code.listSecretNames({ ref: subject }),
      ]);
      return { fields: schema.fields, held: held.preferences, secrets: names.secrets };
    },
    // What somebody types must not be overwritten, and what is changed must be what is stored.
    staleTime: 0,
    gcTime: 0,
    refetchOnWindowFocus: false,
  });
  return (
    <Result query={found} what="settings">
      {({ fields, held, secrets }) => (
        <Form
          subject={subject}
          fields={fields}
          effective={held?.effective ?? {}}
          stored={held?.stored ?? {}}
          etag={held?.etag ?? ""}
          secrets={secrets}
          onClose={onClose}
        />
      )}
    </Result>
  );
}

interface FormProps {
  subject: Subject;
  fields: PreferenceField[];
  effective: JsonObject;
  stored: JsonObject;
  etag: string;
  secrets: SecretName[];
  onClose: () => void;
}

function Form({ subject, fields, effective, stored, etag, secrets, onClose }: FormProps) {
  const cache = useQueryClient();
  const [typed, setTyped] = useState<Record<string, string>>({});
  const [changed, setChanged] = useState<Record<string, JsonValue>>({});
  const given = Object.entries(typed).filter(([, value]) => value !== "");
  const save = useMutation({
    mutationFn: async () => {
      const told: string[] = [];
      if (Object.keys(changed).length > 0) {
        const answer = await code.updatePreferences({ ref: subject, preferences: changeOf(changed), etag });
        told.push(answer.apply?.detail ?? "");
        setChanged({});
      }
      if (given.length > 0) {
        const answer = await code.replaceSecrets({ ref: subject, secrets: Object.fromEntries(given) });
        told.push(answer.apply?.detail ?? "");
      }
      return told.filter(Boolean).join(" ");
    },
    onSuccess: (told) => {
      toast.success(`The settings of ${subject.name} are stored. ${told}`);
      onClose();
    },
    onSettled: () => {
      // When only the secrets were refused, the next attempt begins with the preferences as they are stored by then.
      void cache.invalidateQueries({ queryKey: ["settings"] });
      void cache.invalidateQueries({ queryKey: ["code"] });
      void cache.invalidateQueries({ queryKey: ["providers"] });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  const nothing = given.length === 0 && Object.keys(changed).length === 0;
  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      {secrets.length > 0 && (
        <fieldset className="flex flex-col gap-2">
          <legend className="mb-1 text-xs text-muted">
            Secrets: kept sealed, never shown again. What you enter replaces all that are stored.
          </legend>
          {secrets.map((secret) => (
            <Field
              key={secret.name}
              label={secret.name}
              type="password"
              autoComplete="off"
              value={typed[secret.name] ?? ""}
              placeholder={secret.stored ? "stored" : secret.required ? "needed" : "not stored"}
              {...(secret.description ? { hint: secret.description } : {})}
              onChange={(event) => setTyped({ ...typed, [secret.name]: event.target.value })}
            />
          ))}
        </fieldset>
      )}
      {fields.map((field) => (
        <PreferenceInput
          key={field.path}
          field={field}
          stored={valueAt(stored, field.path) !== undefined}
          value={changed[field.path] !== undefined ? changed[field.path] : valueAt(effective, field.path)}
          onChange={(value) => setChanged({ ...changed, [field.path]: value })}
        />
      ))}
      {save.error && <Failed error={save.error} />}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Cancel</Button>
        <Button type="submit" look="primary" busy={save.isPending} disabled={nothing}>
          Save
        </Button>
      </div>
    </form>
  );
}
