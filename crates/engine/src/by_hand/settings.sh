# --- What can be set from outside ------------------------------------------
#
#   WINDLASS_YES=1           agree to everything that jobs ask
#   WINDLASS_SOURCE=...      another repository (folder or URL) to take the commit from
#   WINDLASS_ARTIFACTS=DIR   copy the artifacts of all jobs into this folder
#   WINDLASS_KEEP=1          keep the jobs' folders, and say where they are
#   WINDLASS_PASS_ENV="A B"  further variables of this machine that steps may see
#   WINDLASS_ANYWAY=1        run also what asks for another machine, a container or a user

set -u
umask 022

say() { printf '%s\n' "$@"; }

stop() {
    printf 'by hand: %s\n' "$*" >&2
    exit 2
}

