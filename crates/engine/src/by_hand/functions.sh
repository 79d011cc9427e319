# Steps see the variables of this machine that are named here, and no others.
set -f
for name in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
    case " $passed_on PWD $secrets WINDLASS_YES WINDLASS_SOURCE WINDLASS_ARTIFACTS WINDLASS_KEEP \
WINDLASS_ANYWAY TMPDIR ${WINDLASS_PASS_ENV-} " in
    *" $name "*) ;;
    *) (unset "$name") 2>/dev/null && unset "$name" ;;
    esac
done
set +f
PATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
LANG=${LANG:-C.UTF-8}
export PATH LANG
agreed=${WINDLASS_YES-}
source=${WINDLASS_SOURCE:-$source}
artifacts_to=${WINDLASS_ARTIFACTS-}
keep_folders=${WINDLASS_KEEP-}
[ -z "$refused" ] || [ -n "${WINDLASS_ANYWAY-}" ] ||
    stop "$refused (WINDLASS_ANYWAY=1 runs it here nevertheless)"
root=$(mktemp -d "${TMPDIR:-/tmp}/windlass-by-hand.XXXXXX") || stop 'no folder could be made'
root=$(cd "$root" && pwd -P) || stop 'no folder could be made'
unset WINDLASS_YES WINDLASS_SOURCE WINDLASS_ARTIFACTS WINDLASS_KEEP WINDLASS_ANYWAY TMPDIR
unset WINDLASS_PASS_ENV
nl='
'
cr=$(printf '\r')
running=
step_process=
bad=0
summary=
timeout=
if command -v timeout >/dev/null; then
    timeout=timeout
else
    say 'This machine has no program "timeout": nothing stops a step that takes too long.'
fi

# A shell minds a signal only when what it waits for is over, unless that runs in the background; and
# what runs there ignores Ctrl-C, unless somebody undoes that. `timeout` makes a group of its own, to
# which Ctrl-C doesn't come.
default_signals=
if [ -n "$timeout" ] && env --default-signal=INT,QUIT true 2>/dev/null; then
    default_signals=--default-signal=INT,QUIT
fi

clean_up() {
    status=$?
    trap - EXIT
    for process in $running $step_process; do
        kill "$process" 2>/dev/null && wait "$process" 2>/dev/null
    done
    if [ -n "$keep_folders" ]; then
        say "kept: $root"
    else
        chmod -R u+rwx "$root" 2>/dev/null
        rm -rf "$root"
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

now() { date +%s; }

matches() { printf '%s\n' "$1" | LC_ALL=C grep -Eq -e "$2"; }

# --- Whether a job begins ---------------------------------------------------

# worst RESULT...: how a job ended, all cells of its matrix together.
worst() {
    worst=skipped
    for each in passed cancelled error failed; do
        for one do [ "$one" != "$each" ] || worst=$each; done
    done
}

# needs NAME required|optional FLAGS: after `worst`; a 1 among the flags is a failure that counts.
needs() {
    [ -z "$reason" ] || return 0
    case $worst-$2-$3 in
    cancelled-*1*) reason="needs $1, which was cancelled" ;;
    error-*1*) reason="needs $1, which could not be run" ;;
    *1*) reason="needs $1, which failed" ;;
    skipped-required-*) reason="needs $1, which was skipped" ;;
    esac
}

# approve QUESTION
approve() {
    [ -z "$reason" ] && [ "$agreed" != 1 ] || return 0
    [ -t 0 ] || stop "a job asks: $1 (nobody can answer here: WINDLASS_YES=1 agrees)"
    printf '%s [y/N] ' "$1"
    IFS= read -r answer || answer=
    case $answer in
    y | Y | yes) ;;
    *) reason='was not approved' result=cancelled ;;
    esac
}

# --- One attempt at a job ---------------------------------------------------

# fresh_folder NUMBER: an empty workspace and a place for temporary files.
fresh_folder() {
    folder=$root/job-$1
    kept=$root/artifacts-$1
    chmod -R u+rwx "$folder" 2>/dev/null
    rm -rf "$folder" "$kept"
    workspace=$folder/workspace
    tmp=$folder/tmp
    mkdir -p "$workspace" "$tmp"
}

# check_out DEPTH|all [submodules] [lfs]: the commit, in the workspace.
check_out() {
    say "   checking out $revision"
    if (
        cd "$workspace" || exit
        case " $* " in *' lfs '*) ;; *) export GIT_LFS_SKIP_SMUDGE=1 ;; esac
        git init --quiet . && git remote add origin "$source" || exit
        depth="--depth $1"
        [ "$1" != all ] || depth=
        git -c protocol.version=2 fetch --quiet --no-tags $depth origin "$revision" || exit
        git -c advice.detachedHead=false checkout --quiet --detach "$revision" || exit
        case " $* " in *' submodules '*) git submodule --quiet update --init --recursive || exit ;; esac
        case " $* " in *' lfs '*) git lfs pull || exit ;; esac
    ) </dev/null; then
        return 0
    fi
    say "   the commit could not be checked out"
    return 1
}

# put_in FOLDER: the files of an artifact, at the paths from which they came.
put_in() {
    [ -d "$1" ] || return 0
    (cd "$1" && find . -type f ! -path './.git/*') >"$folder/list" || return 1
    while IFS= read -r file; do
        file=${file#./}
        mkdir -p "$workspace/$(dirname "./$file")" && rm -f "$workspace/$file" &&
            cp -p "$1/$file" "$workspace/$file" || return 1
    done <"$folder/list"
}

# attempt FUNCTION: does a job once; sets $result and $cause.
attempt() {
    result= cause=
    "$1" || result=error cause=infrastructure
}

# begin_steps SECONDS: the job's time begins.
begin_steps() {
    failed=0 stopped=0 cause= deadline=$(($(now) + $1))
}

# begin_step success|failure|always SECONDS NAME: whether the step runs. 0 seconds are no limit.
begin_step() {
    if [ "$failed" = 1 ] && { [ "$stopped" = 1 ] || [ "$1" = success ]; }; then
        say "-- $3: skipped"
        return 1
    fi
    if [ "$failed" = 0 ] && [ "$1" = failure ]; then
        say "-- $3: left out, no step before it failed"
        return 1
    fi
    say "-- $3"
    step_began=$(now)
    seconds=$2
    over=step
    left=$((deadline - step_began))
    if [ "$left" -le 0 ]; then
        stopped=1
        step_failed timeout "the job's time is over"
        return 1
    fi
    if [ "$seconds" = 0 ] || [ "$left" -lt "$seconds" ]; then
        seconds=$left
        over=job
    fi
    limit=${timeout:+timeout -k 10 $seconds}
    mark=$folder/not-started
    rm -f "$mark"
}

# enter FOLDER PROGRAM [PATH]: goes there, and looks whether the program is there.
enter() {
    cd "$workspace/$1" 2>/dev/null || cannot_start "there is no folder $1"
    case $(pwd -P)/ in
    "$workspace"/*) ;;
    *) cannot_start "the folder $1 leads out of the workspace" ;;
    esac
    case $2 in
    */*) [ -x "$2" ] && [ ! -d "$2" ] ;;
    *) (PATH=${3-$PATH} && command -v "$2" >/dev/null) ;;
    esac || cannot_start "there is no program $2"
}

cannot_start() {
    say "   $1"
    : >"$mark"
    exit 127
}

# run_step EXPECTED...: does what the function `step` says, and judges its end.
run_step() {
    if [ -n "$default_signals" ]; then
        (step) </dev/null &
        step_process=$!
        wait "$step_process"
    else
        (step) </dev/null
    fi
    code=$?
    step_process=
    end_step "$code" "$@"
}

# end_step CODE EXPECTED...
end_step() {
    code=$1
    shift
    if [ -e "$mark" ]; then
        step_failed not-started 'could not start'
        return
    fi
    case $code in
    124 | 137)
        if [ -n "$limit" ] && [ "$(($(now) - step_began))" -ge "$seconds" ]; then
            [ "$over" = step ] || stopped=1
            step_failed timeout "timed out after $seconds s"
            return
        fi
        ;;
    esac
    for expected do
        [ "$code" != "$expected" ] || return 0
    done
    step_failed "$code" "exit code $code"
}

# step_failed CAUSE WORDS: the first failure decides.
step_failed() {
    say "   $2"
    if [ "$failed" = 0 ]; then
        failed=1
        cause=$1
    fi
}

# alive PROCESS: also one that nobody waited for yet can be over.
alive() {
    kill -0 "$1" 2>/dev/null || return 1
    case $(ps -o stat= -p "$1" 2>/dev/null) in Z*) return 1 ;; esac
}

# wait_longer PROCESS SECONDS: whether it is worth while to ask again if the process is ready.
wait_longer() {
    if ! alive "$1"; then
        step_failed other 'it ended before it was ready'
        return 1
    fi
    if [ "$(($(now) - step_began))" -ge "$2" ]; then
        step_failed other "it was not ready after $2 s"
        return 1
    fi
    sleep 1
}

# port_is_open PORT
port_is_open() {
    if command -v nc >/dev/null; then
        nc -z 127.0.0.1 "$1"
    elif command -v bash >/dev/null; then
        bash -c ': <"/dev/tcp/127.0.0.1/$1"' bash "$1"
    else
        python3 -c 'import socket, sys
socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()' "$1"
    fi >/dev/null 2>&1
}

# look_beside PROCESS NAME FILE EXPECTED...: judges a step that runs beside the others if it has ended
# by itself; then this fails.
look_beside() {
    [ -n "$1" ] && ! alive "$1" || return 0
    wait "$1" 2>/dev/null
    code=$?
    say "-- $2 (beside the others): ended"
    [ ! -f "$3" ] || cat "$3"
    mark=$3.not-started limit=
    shift 3
    if [ "$code" = 124 ] && [ -n "$timeout" ] && [ "$*" = 0 ]; then
        step_failed timeout 'timed out'
    else
        end_step "$code" "$@"
    fi
    return 1
}

# end_beside PROCESS NAME FILE EXPECTED...: stops it when the other steps are over: its good end.
end_beside() {
    look_beside "$@" && [ -n "$1" ] || return 0
    kill "$1" 2>/dev/null
    wait "$1" 2>/dev/null
    say "-- $2 (beside the others): stopped at the end"
    [ ! -f "$3" ] || cat "$3"
}

end_steps() {
    running=
    case $failed-$cause in
    0-*) result=passed ;;
    1-not-started) result=error cause=infrastructure ;;
    *) result=failed ;;
    esac
    ended=$result
}

# spoil WORDS: makes a failure of a good end.
spoil() {
    say "   $1"
    if [ "$result" = passed ]; then
        result=failed
        cause=other
    fi
}

# take_outputs FUNCTION: calls it with each name and value that the steps wrote.
take_outputs() {
    file=$tmp/windlass-output
    [ -e "$file" ] || [ -L "$file" ] || return 0
    if [ ! -f "$file" ] || [ -L "$file" ]; then
        spoil "\$WINDLASS_OUTPUT is not a file any more"
        return 1
    fi
    if [ "$(wc -c <"$file")" -gt 65536 ]; then
        spoil "\$WINDLASS_OUTPUT has more than 65536 bytes"
        return 1
    fi
    while IFS= read -r row || [ -n "$row" ]; do
        row=${row%"$cr"}
        case $row in
        '') ;;
        *=*)
            if ! "$1" "${row%%=*}" "${row#*=}"; then
                spoil "the job wrote the output ${row%%=*}, which is not in its outputs"
                return 1
            fi
            ;;
        *)
            spoil "a line of \$WINDLASS_OUTPUT is not name=value: $row"
            return 1
            ;;
        esac
    done <"$file"
}

# For jobs without outputs.
no_output() { return 1; }

# keeps success|failure|always: whether files are kept after this end.
keeps() {
    case $1-$ended in
    always-* | success-passed) return 0 ;;
    success-* | failure-passed) return 1 ;;
    esac
}

# list_files: all files of the workspace, one a line.
list_files() {
    (cd "$workspace" && find . -type f ! -path "*$nl*") | sed 's|^\./||' | LC_ALL=C sort
}

take() { LC_ALL=C grep -E -e "$1"; }

take_out() { LC_ALL=C grep -Ev -e "$1"; }

# keep_files FOLDER NAME PLACE required|optional: copies the files that standard input names. Not
# for the end of a pipe, where a shell of its own would run it.
keep_files() {
    LC_ALL=C sort -u >"$folder/list"
    count=0
    while IFS= read -r file; do
        for to in "$1" ${artifacts_to:+"$artifacts_to/$3"}; do
            mkdir -p "$to/$(dirname "./$file")" && cp -p "$workspace/$file" "$to/$file"
        done && count=$((count + 1))
    done <"$folder/list"
    say "   artifact $2: $count files kept"
    if [ "$count" = 0 ] && [ "$4" = required ] && [ "$ended" = passed ]; then
        spoil "artifact $2: no file matches"
    fi
}

# --- What follows from a job's end ------------------------------------------

# worth_a_retry COUNT SECONDS CAUSE...: waits, if the attempt is worth another one.
worth_a_retry() {
    most=$1 pause=$2
    shift 2
    [ "$tries" -le "$most" ] || return 1
    case " $* " in
    *' any '* | *" $cause "*) ;;
    *) return 1 ;;
    esac
    doublings=$((tries - 1))
    while [ "$doublings" -gt 0 ] && [ "$pause" -lt 3600 ]; do
        pause=$((pause * 2))
        doublings=$((doublings - 1))
    done
    [ "$pause" -le 3600 ] || pause=3600
    say "   tried again in $pause s"
    sleep "$pause"
}

# judge NAME may-fail|must-pass: sets $counts, a failure that those who need the job must mind.
judge() {
    counts=0
    case $result-$2 in
    failed-must-pass | error-must-pass) counts=1 bad=1 ;;
    cancelled-may-fail) counts=1 ;;
    cancelled-*) counts=1 bad=1 ;;
    esac
    say "== $1: $result${reason:+, $reason}"
    summary="$summary  $result  $1$nl"
}
