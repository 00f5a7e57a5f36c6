#!/usr/bin/env bash
# Gives a Google service account what a run needs of two buckets, and lets Kubernetes's accounts take it:
#
#     PROJECT=... SOURCES=bucket OUTPUT=bucket infra/iam/gcp-buckets.sh
#
# Needs gcloud, signed in as who may set policies. Running it again changes nothing.
set -euo pipefail
: "${PROJECT:?the id of the project}" "${SOURCES:?the bucket of the documents}" "${OUTPUT:?the bucket of the summaries}"
NAMESPACE=${NAMESPACE:-longhaul}
PREFIX=${PREFIX:-summaries}
ACCOUNT=longhaul@$PROJECT.iam.gserviceaccount.com

gcloud iam service-accounts describe "$ACCOUNT" --project "$PROJECT" >/dev/null 2>&1 ||
	gcloud iam service-accounts create longhaul --project "$PROJECT"

grant() { # bucket, role, condition
	gcloud storage buckets add-iam-policy-binding "gs://$1" --member "serviceAccount:$ACCOUNT" --role "$2" --condition "$3"
}
# Listing is a permission of the bucket, which a condition on names of objects would take away; viewers may list and get.
grant "$SOURCES" roles/storage.objectViewer None
grant "$OUTPUT" roles/storage.objectViewer None
# Also deletes: snapshots of documents that are done, and what a resumed run wrote anew. Below its own prefix alone.
grant "$OUTPUT" roles/storage.objectUser \
	"title=longhaul-output,expression=resource.name.startsWith('projects/_/buckets/$OUTPUT/objects/$PREFIX/')"

for each in head worker; do
	gcloud iam service-accounts add-iam-policy-binding "$ACCOUNT" --project "$PROJECT" \
		--role roles/iam.workloadIdentityUser \
		--member "serviceAccount:$PROJECT.svc.id.goog[$NAMESPACE/longhaul-$each]"
done
