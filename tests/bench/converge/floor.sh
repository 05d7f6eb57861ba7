#!/usr/bin/env bash
# The least that a bare host needs to serve the board: the same packages, the same wheels, and the starts.
# No users, no rights, no TLS, no unit files, no checks; and it can be run once.
#
# Usage, as root: floor.sh DIRECTORY   with uv, wheels/, requirements.txt, dist/*.whl and src/ in it
set -euo pipefail
cd "$1"
export DEBIAN_FRONTEND=noninteractive UV_OFFLINE=1 UV_NO_INDEX=1 UV_PYTHON_DOWNLOADS=never

apt-get update -q
apt-get install -q -y --no-install-recommends \
    ca-certificates curl iproute2 openssl tzdata postgresql-17 logrotate nginx python3-cryptography

./uv venv --quiet --python /usr/bin/python3 venv
./uv pip install --quiet --python venv --find-links wheels --require-hashes --requirement requirements.txt
./uv pip install --quiet --python venv --no-deps dist/*.whl

runuser -u postgres -- createuser root
runuser -u postgres -- createdb --owner root board
(cd src && ../venv/bin/alembic upgrade head)
systemd-run --quiet --unit=board --working-directory="$PWD/src" \
    --setenv=DATABASE_URL='postgresql:///board?host=/run/postgresql' --setenv=API_TOKEN=only-for-this-measurement-0123456789 \
    "$PWD/venv/bin/gunicorn" --worker-class uvicorn_worker.UvicornWorker --workers 2 --bind unix:/run/board.sock board.main:app
cat > /etc/nginx/sites-enabled/default <<'CONF'
server { listen 80; location / { proxy_pass http://unix:/run/board.sock; } }
CONF
systemctl reload nginx
until curl --silent --fail http://127.0.0.1/readyz; do sleep 0.1; done
