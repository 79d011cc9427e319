#!/bin/sh
# Makes a repository of this folder: release 1.0, tagged as v1.0, and on top of it release 2.0.
#     sh history.sh FOLDER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
git init -q "$1"
cd "$1"
mkdir migrations
cp "$here/windlass.yml" "$here/Dockerfile" "$here"/release-1.0/*.py .
cp "$here/migrations/0001_people.sql" migrations
git add -A
git commit -q -m "Release 1.0: people have a name"
git tag v1.0
cp "$here"/*.py .
cp "$here"/migrations/* migrations
git add -A
git commit -q -m "Release 2.0: people have a given and a family name"
