#!/usr/bin/env bash
# The demonstration election with three parties and the board as units of systemd, hardened as in this directory, without touching this machine:
# systemd is started a second time, in namespaces of its own, over a copy of this machine's files that is thrown away afterwards. Needs root and Linux.
#
#   cargo build --release && sudo deploy/systemd/rehearsal.sh target/release/tally [options of `demo`]
set -euo pipefail

fail() { printf 'rehearsal: %s\n' "$1" >&2; exit 2; }
[ $# -ge 1 ] || fail "which program? usage: $0 PROGRAM [options of its part 'demo']"
program=$(realpath "$1") && shift
[ -x "$program" ] || fail "$program is no program"
[ "$(id -u)" = 0 ] || fail "it starts systemd in namespaces of its own, and only root may: run it with sudo"
[ -x /lib/systemd/systemd ] || fail "this machine has no /lib/systemd/systemd"

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
touch "$out/said"

# In the namespaces: the copy, what a machine has besides files, and systemd in place of this shell.
machine() {
  set -euo pipefail
  local out=$1 program=$2 copy device
  shift 2
  mount --make-rprivate /
  copy=$out/copy
  mkdir "$copy" && mount -t tmpfs tmpfs "$copy" && cd "$copy"
  mkdir changes scratch machine
  mount -t overlay overlay -o lowerdir=/,upperdir=changes,workdir=scratch machine
  cd machine
  mount -t proc proc proc
  mount -t sysfs sysfs sys && mount -t cgroup2 cgroup2 sys/fs/cgroup
  mount --rbind /dev dev
  mount -t tmpfs -o mode=755 tmpfs run && mount -t tmpfs -o mode=1777 tmpfs tmp
  mkdir -p rehearsal before usr/local/bin && mount --bind "$out" rehearsal
  # What this machine starts by itself is none of the rehearsal's, nor what it has of the tally.
  rm -rf etc/systemd/system etc/tally var/lib/tally etc/sysusers.d/tally.conf usr/local/bin/tally
  mkdir -p etc/systemd/system
  cp "$program" usr/local/bin/rehearsal
  cat >etc/systemd/system/rehearsal.target <<UNIT
[Unit]
Wants=rehearsal.service
UNIT
  cat >etc/systemd/system/rehearsal.service <<UNIT
[Unit]
SuccessAction=exit
FailureAction=exit
[Service]
Type=exec
ExecStart=/usr/local/bin/rehearsal demo --units $*
StandardOutput=append:/rehearsal/said
StandardError=append:/rehearsal/said
UNIT
  pivot_root . before && umount -l before
  exec env container=rehearsal /lib/systemd/systemd --system --unit=rehearsal.target --log-target=console --log-level=warning --show-status=0
}

tail -s 0.2 -f -n +1 "$out/said" &
telling=$!
status=0
unshare --fork --pid --kill-child --mount --cgroup --uts --ipc --net \
  bash -c "$(declare -f machine); machine \"\$@\"" machine "$out" "$program" "$@" >"$out/boot" 2>&1 </dev/null || status=$?
sleep 1 && kill "$telling"
if [ "$status" != 0 ]; then
  [ -s "$out/said" ] || fail "systemd was not started in namespaces of its own (status $status): $(cat "$out/boot")"
  cat "$out/boot" >&2
  fail "it ended with status $status"
fi
