#!/bin/sh
# Makes the secrets that docker-compose.yml mounts, in deploy/secrets or the folder that is named. What exists is kept.
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"

random() {
  head -c "$1" /dev/urandom | od -An -vtx1 | tr -d ' \n'
}

# Containers run as another account and read the files as they are; the folder keeps everybody else out.
keep() {
  [ -e "$folder/$1" ] || printf '%s' "$2" > "$folder/$1"
  chmod 644 "$folder/$1"
}

keep system_context "$(random 32)"
keep database_password "$(random 24)"
keep database_url "postgresql://quasar:$(cat "$folder/database_password")@timescaledb:5432/quasar"
echo "The secrets are in $folder. Keep a copy of system_context: without it no stored secret can be opened."
