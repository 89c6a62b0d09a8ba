#!/usr/bin/env bash
# Puts Fashion-MNIST (MIT licence) into DIR/fashion-mnist from Debian's package dataset-fashion-mnist; needs no root.
# Where there is no apt it says so and leaves the rest to `genaudit`, which names what a table lacks.
set -euo pipefail
folder=${1:-data}
if [ -e "$folder/fashion-mnist/train-images-idx3-ubyte.gz" ] || [ -e /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "no apt-get here: put Fashion-MNIST's four files into $folder/fashion-mnist, or torchvision's FashionMNIST/raw into $folder"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
if ! (cd "$work" && apt-get download --quiet dataset-fashion-mnist >/dev/null 2>"$work/errors"); then
    echo "apt-get could not get dataset-fashion-mnist: $(head -1 "$work/errors")"
    exit 0
fi
dpkg -x "$work"/dataset-fashion-mnist_*.deb "$work/unpacked"
mkdir -p "$folder/fashion-mnist"
cp "$work"/unpacked/usr/share/datasets/fashion-mnist/*.gz "$folder/fashion-mnist/"
echo "Fashion-MNIST is in $folder/fashion-mnist"
