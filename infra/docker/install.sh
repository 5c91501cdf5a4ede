#!/usr/bin/env bash
# Installs ganray and what it needs, of constraints.txt's versions, into an environment.
#   infra/docker/install.sh ENVIRONMENT/bin/python cuda|cpu
set -euo pipefail
python=$1
torch=$2
constraints=constraints.txt
index=()
case $torch in
    cuda) ;;
    cpu)
        # With its label, or the build for CUDA would answer to the plain version.
        constraints=$(mktemp)
        sed -E 's/^(torch==[0-9.]+)$/\1+cpu/' constraints.txt > "$constraints"
        index=(--extra-index-url https://download.pytorch.org/whl/cpu)
        ;;
    *)
        echo "found torch '$torch', expected cuda or cpu; correct --build-arg TORCH" >&2
        exit 2
        ;;
esac
"$python" -m pip install --no-cache-dir --disable-pip-version-check \
    --constraint "$constraints" "${index[@]}" ".[cluster,geo,dicom,video]"
