#!/usr/bin/env bash
# swarm.sh: a real multi-node Docker Swarm on one machine, with no registry. The tests call it
# (tests/e2e/tests/e2e/swarm.rs), and `cargo xtask lab up`.
#
#   swarm.sh up [N] [IMAGE.tar ...]   N nodes (default 3), joined, images loaded on each;
#                                        prints the manager's socket path. Safe to repeat.
#   swarm.sh down                     ends it all; leaves nothing behind. Safe to repeat.
#   swarm.sh status
#   swarm.sh kill I | start I         node I loses its power | comes back with its disk
#   swarm.sh cut I  | mend I          node I's network cable out | in
#
# Needs root, Debian's docker.io, iproute2, util-linux. Env (defaults):
#   MANAGERS=1           how many of the N nodes are managers
#   HEARTBEAT=5s         dispatcher heartbeat; a silent node is "down" after about three of them
#   LAB=$TMPDIR/swarm-lab one folder per node: LAB/n1/docker.sock, dockerd.log, data, ...
#   LAB_ID=swl           prefix of every netns, veth and cgroup name (8 letters at most)
#   LAB_NET=10.78.0      the nodes are LAB_NET.1, .2, ...; this host is LAB_NET.254 to them
#   DOCKERD_ARGS=        further words for every dockerd
#   OFFLINE=1            nodes never pull an image for a service; 0 for tests of registries
#
# How: each node is one dockerd (with a containerd of its own) under docker-init in a network,
# mount, UTS and PID namespace of its own. Killing that one init is a power cut: the kernel
# ends daemon, shims and containers together, and every mount they made goes with them.
# The bridge lives in a further netns, so that neither the host's iptables (FORWARD DROP of
# another dockerd, with bridge-nf-call-iptables on) nor its routes are touched.
set -euo pipefail

LAB=${LAB:-${TMPDIR:-/tmp}/swarm-lab} ID=${LAB_ID:-swl} NET=${LAB_NET:-10.78.0}
MANAGERS=${MANAGERS:-1} HEARTBEAT=${HEARTBEAT:-5s}
DOCKER=${DOCKER:-/usr/bin/docker} hub=$ID-hub

die() { echo "swarm.sh: $*" >&2; exit 1; }
d() { local i=$1; shift; "$DOCKER" -H "unix://$LAB/n$i/docker.sock" "$@"; } # docker on node I
nodes() { local p; for p in "$LAB"/n*/; do [[ -d $p ]] && basename "$p" | tr -d n; done | sort -n; }
alive() { # node I's outer process runs, and is not a stranger with the same pid
  local pid; pid=$(cat "$LAB/n$1/pid" 2>/dev/null) && [[ -r /proc/$pid/cmdline ]] &&
    tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "$LAB/n$1 "
}
await() { # await SECONDS COMMAND...: until it succeeds
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do ((SECONDS < end)) || die "timed out: $*"; sleep 0.1; done
}

hub_up() { # the switch, with one port for this host
  [[ -e /run/netns/$hub ]] && return
  ip netns add "$hub"
  ip -n "$hub" link set lo up
  ip -n "$hub" link add br0 type bridge
  ip -n "$hub" link set br0 up
  ip link add "$ID-host" type veth peer name host netns "$hub"
  ip -n "$hub" link set host master br0 up
  ip addr add "$NET.254/24" dev "$ID-host"
  ip link set "$ID-host" up
}

net_up() { # node I's netns and cable; its port on the switch is called nI
  local i=$1 ns=$ID-n$1
  [[ -e /run/netns/$ns ]] && return
  ip netns add "$ns"
  ip -n "$ns" link set lo up
  ip link add eth0 netns "$ns" type veth peer name "n$i" netns "$hub"
  ip -n "$hub" link set "n$i" master br0 up
  ip -n "$ns" addr add "$NET.$i/24" dev eth0
  ip -n "$ns" link set eth0 up
}

start() { # node I's daemon
  local i=$1 dir=$LAB/n$1
  alive "$i" && return
  mkdir -p "$dir/etc"
  rm -rf "$dir"/{docker.sock,docker.pid,exec}
  # nsenter and not `ip netns exec`, which would mount a fresh /sys without the cgroups.
  # A /run and an /etc/docker of its own hide a system containerd (which dockerd would use
  # instead of its own), daemon.json and key.json, and make /var/run/docker.sock, which a task
  # may bind-mount, the socket of this node. DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: tasks use
  # the loaded image without asking a registry first.
  # shellcheck disable=SC2016,SC2086 # the inner bash expands; DOCKERD_ARGS is words
  DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=${OFFLINE:-1} \
    setsid nsenter --net="/run/netns/$ID-n$i" \
    unshare --mount --uts --ipc --pid --fork --kill-child --mount-proc \
    bash -ec 'hostname "$1"; mount --bind "$2/etc" /etc/docker
      mount -t tmpfs -o mode=755 none /run
      shift 2; exec docker-init -- dockerd "$@"' node "n$i" "$dir" \
    --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" \
    -H "unix://$dir/docker.sock" -H unix:///run/docker.sock --cgroup-parent "/$ID/n$i" \
    --exec-opt native.cgroupdriver=cgroupfs --userland-proxy=false --log-level warn \
    ${DOCKERD_ARGS:-} </dev/null >>"$dir/dockerd.log" 2>&1 &
  echo $! >"$dir/pid"
}

power_off() { # kill -9 of the outer process takes the node's init along, and so everything
  local i=$1 pid
  alive "$i" || return 0
  pid=$(cat "$LAB/n$i/pid")
  kill -9 "$pid" 2>/dev/null || true
  await 20 test ! -e "/proc/$pid"
  await 20 no_procs "$i"
  find /sys/fs/cgroup/*/"$ID/n$i" /sys/fs/cgroup/"$ID/n$i" -depth -type d -exec rmdir {} + 2>/dev/null || true
}
no_procs() { [[ -z $(ip netns pids "$ID-n$1" 2>/dev/null) ]]; }

join() { # node I into the swarm, as a manager when it is one of the first MANAGERS
  local i=$1 role=worker
  [[ $(d "$i" info -f '{{.Swarm.LocalNodeState}}') == inactive ]] || return 0
  if ((i == 1)); then
    d 1 swarm init --advertise-addr "$NET.1" --dispatcher-heartbeat "$HEARTBEAT" >/dev/null
  else
    ((i <= MANAGERS)) && role=manager
    d "$i" swarm join --advertise-addr "$NET.$i" \
      --token "$(d 1 swarm join-token -q "$role")" "$NET.1:2377" >/dev/null
  fi
}

up() {
  local n=3 i tar pids=()
  [[ ${1:-} =~ ^[0-9]+$ ]] && { n=$1; shift; }
  for tar in "$@"; do [[ -r $tar ]] || die "no such image tarball: $tar"; done
  mkdir -p "$LAB"
  hub_up
  for ((i = 1; i <= n; i++)); do net_up "$i"; start "$i"; done
  for ((i = 1; i <= n; i++)); do await 30 d "$i" info; done
  for ((i = 1; i <= n; i++)); do join "$i"; done
  for ((i = 1; i <= n; i++)); do
    for tar in "$@"; do d "$i" load -q -i "$tar"; done >/dev/null & pids+=($!)
  done
  for i in "${pids[@]}"; do wait "$i"; done
  await 30 all_ready "$n"
  echo "$LAB/n1/docker.sock"
}
all_ready() { (($(d 1 node ls --format '{{.Status}}' | grep -c Ready) >= $1)); }

down() {
  local i ns
  for i in $(nodes); do power_off "$i" & done
  wait
  for ns in $(ip netns list | awk -v p="$ID-" 'index($1, p) == 1 {print $1}'); do
    ip netns del "$ns" # takes its end of each veth along, and so the other end
  done
  ip link del "$ID-host" 2>/dev/null || true
  find /sys/fs/cgroup/*/"$ID" /sys/fs/cgroup/"$ID" -depth -type d -exec rmdir {} + 2>/dev/null || true
  # the mount that `ip netns add` made, when nobody else has a netns in it
  if [[ -d /run/netns && -z $(ls /run/netns) ]]; then umount /run/netns 2>/dev/null; rmdir /run/netns; fi || true
  for i in $(nodes); do rm -rf --one-file-system "$LAB/n$i" & done
  wait
  rm -rf --one-file-system "$LAB"
}

status() {
  local i
  [[ -n $(nodes) ]] || { echo "no lab at $LAB"; return; }
  for i in $(nodes); do
    if alive "$i"; then
      echo "n$i $NET.$i $LAB/n$i/docker.sock pid $(cat "$LAB/n$i/pid")" \
        "containers $(d "$i" ps -q | wc -l) images $(d "$i" image ls -q | wc -l)"
    else echo "n$i $NET.$i off"; fi
  done
  for i in $(nodes); do alive "$i" && d "$i" node ls 2>/dev/null && break; done || true
}

[[ $(id -u) == 0 ]] || die "needs root"
node() { [[ -d $LAB/n${1:-} && -n ${1:-} ]] || die "no such node: ${1:-}"; }
case ${1:-} in
  up) shift; up "$@" ;;
  down) down ;;
  status) status ;;
  kill) node "${2:-}"; power_off "$2" ;;
  start) node "${2:-}"; start "$2"; await 30 d "$2" info ;;
  cut) node "${2:-}"; ip -n "$hub" link set "n$2" down ;;
  mend) node "${2:-}"; ip -n "$hub" link set "n$2" up ;;
  *) sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2 ;;
esac
