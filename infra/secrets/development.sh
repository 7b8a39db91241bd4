#!/usr/bin/env bash
# Random passwords into the Secrets of the development platform, once: when all are there, they stay. No value is printed, written to a
# file or put on a command line.
set -euo pipefail

namespace=${1:-reynard-development}

word() { head -c 24 /dev/urandom | base64 | tr -d '/+=\n'; }

has() { kubectl --namespace "$1" get secret "$2" >/dev/null 2>&1; }

# put NAMESPACE NAME KEY VALUE [KEY VALUE ...]: the manifest goes through a pipe, so that values are on no command line
put() {
  local place=$1 name=$2
  shift 2
  {
    printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\nstringData:\n' "$name" "$place"
    while (($#)); do
      printf '  %s: %s\n' "$1" "'${2//\'/\'\'}'"
      shift 2
    done
  } | kubectl apply --filename - >/dev/null
  echo "$place/$name made"
}

for place in flyte mlflow monitoring services "$namespace"; do
  kubectl get namespace "$place" >/dev/null 2>&1 || kubectl create namespace "$place" >/dev/null
done

if has services postgres; then
  echo "services/postgres is there: nothing is made anew"
  exit
fi

flyte=$(word) mlflow=$(word) admin=$(word) key=$(word) secret=$(word)
address=postgres.services.svc.cluster.local:5432
rights='["Admin","Read","Write","List","Tagging"]'

put flyte flyte-database password "$flyte" pass.txt "$flyte"
put mlflow mlflow database_uri "postgresql+psycopg2://mlflow:$mlflow@$address/mlflow" \
  auth_database_uri "postgresql+psycopg2://mlflow:$mlflow@$address/mlflow_auth" admin_password "$admin" session_key "$(word)"
put monitoring grafana user admin password "$(word)"
put "$namespace" stage-environment MLFLOW_TRACKING_USERNAME admin MLFLOW_TRACKING_PASSWORD "$admin" \
  AWS_ACCESS_KEY_ID "$key" AWS_SECRET_ACCESS_KEY "$secret"
for place in flyte mlflow monitoring; do
  put "$place" object-store AWS_ACCESS_KEY_ID "$key" AWS_SECRET_ACCESS_KEY "$secret"
done
put services object-store-server s3.json \
  "{\"identities\":[{\"name\":\"reynard\",\"credentials\":[{\"accessKey\":\"$key\",\"secretKey\":\"$secret\"}],\"actions\":$rights}]}"
put services postgres postgres "$(word)" flyte "$flyte" mlflow "$mlflow"  # last: it says that all are there
