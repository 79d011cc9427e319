#!/usr/bin/env bash
# Records the logs of this folder anew, from the real tools:
#
#     crates/logs/tests/corpus/record.sh [NAME...]
#
# Needs cargo, cargo-nextest, gcc, make, cmake, node and npm, python3 with pip, a JDK; and of Debian:
# apt-get install shellcheck golang-go ruby ruby-rspec clang. A tool that is missing leaves its log as
# it is and is named at the end. What came out is to be read by a person, who writes expected.toml.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=/tmp/windlass-corpus
only=" $* "
missing=()
export CARGO_TERM_COLOR=always CARGO_TARGET_DIR= LC_ALL=C.UTF-8 NO_UPDATE_NOTIFIER=1
unset CARGO_TARGET_DIR RUSTFLAGS

# record NAME TOOL: the commands come on standard input and run in an empty folder.
record() {
    local name=$1 tool=$2 script
    script=$(cat)
    if [ $# -gt 0 ] && [ "$only" != "  " ] && [[ $only != *" $name "* ]]; then return; fi
    if ! command -v "$tool" >/dev/null; then missing+=("$name needs $tool"); return; fi
    rm -rf "$work/$name" && mkdir -p "$work/$name" "$here/$name"
    (cd "$work/$name" && bash -e -c "$script") >"$work/$name.log" 2>&1
    echo "$name: exit code $?, $(wc -l <"$work/$name.log") lines"
    # Where packages come from here is nobody's business.
    sed -E 's#https?://[a-z0-9.-]*(debian|crates|npmjs|pypi|pythonhosted|golang|maven)[a-z0-9.-]*/#http://packages.test/#g; /^Looking in (links|indexes):|waiting for file lock on/d' \
        "$work/$name.log" >"$here/$name/log"
}

# npm packages are installed once, without being part of any log.
modules() {
    if [ ! -d "$work/modules/node_modules" ]; then
        mkdir -p "$work/modules"
        (cd "$work/modules" && npm init -y && npm install --no-audit --no-fund typescript@5 eslint@9 jest@29) >/dev/null 2>&1
    fi
}
if [ ! -d "$work/venv" ]; then
    python3 -m venv "$work/venv" && "$work/venv/bin/pip" install -q pytest mypy >/dev/null 2>&1
fi
modules

rust_crate='mkdir -p src; printf "[package]\nname = \"thing\"\nversion = \"0.1.0\"\nedition = \"2024\"\n" > Cargo.toml'

record cargo-build cargo <<X
$rust_crate
cat > src/main.rs <<'R'
fn total(values: &[u32]) -> u32 {
    let unused = 3;
    values.iter().sum()
}

fn main() {
    let error_count: u32 = 0;
    println!("{error_count} errors, {}", total(&[1, 2]));
    let name: String = total(&[4]);
    println!("{}", nmae);
}
R
cargo build
X

record cargo-test cargo <<X
$rust_crate
cat > src/lib.rs <<'R'
pub fn add(a: i32, b: i32) -> i32 {
    a + b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds() {
        assert_eq!(add(1, 2), 3);
    }

    #[test]
    fn adds_errors() {
        println!("error handling is on");
        assert_eq!(add(2, 2), 5, "the sum is wrong");
    }

    #[test]
    #[should_panic(expected = "on purpose")]
    fn panics() {
        panic!("on purpose");
    }
}
R
cargo test
X

record nextest cargo-nextest <<X
$rust_crate
cat > src/lib.rs <<'R'
#[cfg(test)]
mod tests {
    #[test]
    fn passes() {}

    #[test]
    fn reads_a_file() {
        std::fs::read("no-such-file").unwrap();
    }
}
R
cargo nextest run
X

record cargo-manifest cargo <<X
$rust_crate
echo 'fn main() {}' > src/main.rs
echo '[dependencies' >> Cargo.toml
cargo build
X

record rust-link cargo <<X
$rust_crate
cat > src/main.rs <<'R'
unsafe extern "C" {
    fn missing_function();
}
fn main() {
    unsafe { missing_function() }
}
R
cargo build
X

record gcc gcc <<'X'
cat > main.c <<'C'
#include <stdio.h>
int main(void) {
    int errors = 0;
    unsigned u = -1;
    if (u < errors) puts("none");
    printf("%d\n", erors);
    return "zero";
}
C
set -x
gcc -Wall -Wextra -Werror=return-type -c main.c
X

record gcc-link gcc <<'X'
echo 'int helper(int); int main(void) { return helper(1); }' > main.c
gcc main.c -o main
X

record clang clang <<'X'
printf 'class A { public: int size(); };\nint main() { A a; return a.length(); }\n' > main.cc
clang++ -c main.cc
X

record make make <<'X'
printf 'all: check build\ncheck:\n\t@echo "checking for error.h... yes"\nbuild: gen.txt\n\tcp gen.txt out/gen.txt\ngen.txt:\n\techo hello > gen.txt\n' > Makefile
make all
X

record make-no-rule make <<'X'
printf 'app: main.o util.o\n\tcc -o app main.o util.o\nmain.o:\n\ttouch main.o\n' > Makefile
make -j2 app
X

record cmake cmake <<'X'
printf 'cmake_minimum_required(VERSION 3.10)\nproject(thing C)\nfind_package(NoSuchLibrary 2 REQUIRED)\n' > CMakeLists.txt
cmake -B build
X

record ctest cmake <<'X'
printf 'cmake_minimum_required(VERSION 3.10)\nproject(thing C)\nenable_testing()\nadd_executable(t t.c)\nadd_test(good true)\nadd_test(sums t)\n' > CMakeLists.txt
printf '#include <assert.h>\nint main(void) { assert(1 + 1 == 3); }\n' > t.c
cmake -B build >/dev/null
cmake --build build
cd build && ctest --output-on-failure
X

record apt apt-get <<'X'
apt-get install -y --no-install-recommends hello libno-such-package-dev
X

record npm-script npm <<'X'
printf '{"name": "thing", "version": "1.0.0", "scripts": {"lint": "true"}}' > package.json
npm run lint
npm run biuld
X

record npm-install npm <<'X'
printf '{"name": "thing", "version": "1.0.0", "dependencies": {"react": "17.0.2", "react-dom": "18.2.0"}}' > package.json
npm install --no-audit --no-fund
X

record node node <<'X'
cat > app.js <<'J'
const fs = require("fs");
console.log("starting, errors go to error.log");
function load(path) {
  return JSON.parse(fs.readFileSync(path, "utf8")).port.number;
}
fs.writeFileSync("config.json", "{}");
console.log("config loaded");
load("config.json");
J
node app.js
X

record tsc npx <<X
ln -s $work/modules/node_modules node_modules
mkdir src
printf 'export interface User { name: string }\nexport const user: User = { nmae: "x" };\nexport const size: number = user.name;\n' > src/user.ts
npx tsc --noEmit --strict src/user.ts
X

record tsc-pretty npx <<X
ln -s $work/modules/node_modules node_modules
mkdir src
printf 'export function half(n: number): string {\n  return n / 2;\n}\n' > src/half.ts
npx tsc --noEmit --pretty src/half.ts
X

record eslint npx <<X
ln -s $work/modules/node_modules node_modules
mkdir src
printf 'export default [{ rules: { "no-undef": "error", "no-unused-vars": "warn", "no-const-assign": "error" } }];\n' > eslint.config.mjs
printf 'const unused = 1;\nexport const ok = 2;\n' > src/a.mjs
printf 'const limit = 3;\nlimit = 4;\nexport default error(limit);\n' > src/b.mjs
npx eslint src
X

record jest npx <<X
ln -s $work/modules/node_modules node_modules
printf '{"name": "thing", "scripts": {"test": "jest --ci"}}' > package.json
printf 'module.exports = (a, b) => a + b;\n' > sum.js
printf 'const sum = require("./sum");\ndescribe("sum", () => {\n  test("handles errors", () => expect(sum(1, 2)).toBe(3));\n  test("adds three", () => {\n    expect(sum(1, 2)).toBe(4);\n  });\n});\n' > sum.test.js
npm test
X

record pip python3 <<X
. $work/venv/bin/activate
pip install --disable-pip-version-check 'requests==99.1.0'
X

record pytest python3 <<X
. $work/venv/bin/activate
cat > test_sum.py <<'P'
import pytest

def total(values):
    return sum(values) + 1

def test_no_errors():
    errors = []
    assert errors == []

@pytest.mark.parametrize("n", [0, 1])
def test_total(n):
    assert total([n, 1]) == n + 1

def test_failure_is_raised():
    with pytest.raises(ValueError):
        int("x")
P
pytest -q
X

record pytest-collect python3 <<X
. $work/venv/bin/activate
printf 'import no_such_module\n\ndef test_a():\n    pass\n' > test_a.py
pytest
X

record unittest python3 <<'X'
cat > test_text.py <<'P'
import unittest

class TextTest(unittest.TestCase):
    def test_upper(self):
        self.assertEqual("a".upper(), "A")

    def test_split(self):
        self.assertEqual("a b".split(), ["a", "c"])

if __name__ == "__main__":
    unittest.main()
P
python3 -m unittest -v test_text
X

record python-traceback python3 <<'X'
cat > migrate.py <<'P'
import json

def read(path):
    with open(path) as f:
        return json.load(f)

def main():
    print("reading settings (errors are fatal)")
    try:
        read("settings.json")
    except FileNotFoundError as e:
        raise RuntimeError("no settings: run setup first") from e

main()
P
python3 migrate.py
X

record mypy python3 <<X
. $work/venv/bin/activate
printf 'def f(x: int) -> str:\n    return x\n\nf("a")\n' > a.py
mypy a.py
X

record go-build go <<'X'
export GOFLAGS=-mod=mod GOTOOLCHAIN=local
printf 'module example.org/thing\n\ngo 1.19\n' > go.mod
printf 'package main\n\nimport (\n\t"errors"\n\t"fmt"\n)\n\nfunc main() {\n\tfmt.Println(eror)\n\tvar n int = "x"\n}\n' > main.go
go build ./...
X

record go-test go <<'X'
export GOTOOLCHAIN=local
printf 'module example.org/thing\n\ngo 1.19\n' > go.mod
printf 'package thing\n\nfunc Add(a, b int) int { return a - b }\n' > add.go
printf 'package thing\n\nimport "testing"\n\nfunc TestErrors(t *testing.T) {}\n\nfunc TestAdd(t *testing.T) {\n\tif got := Add(1, 2); got != 3 {\n\t\tt.Errorf("Add(1, 2) = %%d, want 3", got)\n\t}\n}\n' > add_test.go
go test ./...
X

record go-panic go <<'X'
export GOTOOLCHAIN=local
printf 'module example.org/thing\n\ngo 1.19\n' > go.mod
printf 'package main\n\nimport "fmt"\n\nfunc main() {\n\tfmt.Println("failed jobs: 0")\n\tvar m map[string]int\n\tm["a"] = 1\n}\n' > main.go
go run .
X

record javac javac <<'X'
mkdir -p src
printf 'import java.util.List;\n\npublic class Main {\n    public static void main(String[] args) {\n        List<String> names = List.of(1, 2);\n        System.out.println(nmaes);\n    }\n}\n' > src/Main.java
javac -d out src/Main.java
X

record java java <<'X'
printf 'public class Main {\n    static int port(String text) {\n        return Integer.parseInt(text);\n    }\n    public static void main(String[] args) {\n        System.out.println("0 errors so far");\n        port("eighty");\n    }\n}\n' > Main.java
java Main.java
X

record shellcheck shellcheck <<'X'
printf '#!/bin/sh\nset -e\nfiles=$(ls *.log)\nfor f in $files; do\n  rm $f\ndone\nif [ $1 == "x" ]; then exit 1\n' > deploy.sh
shellcheck deploy.sh
X

record shell bash <<'X'
cat > release.sh <<'S'
echo "building, stops at the first error"
mkdir -p dist
cp README.md dist/
S
cat > run.sh <<'S'
set -e
echo "errors: 0"
gti describe --tags
sh -e release.sh
S
bash run.sh
X

record git git <<'X'
git init -q .
git -c user.name=a -c user.email=a@example.org commit -q --allow-empty -m "Handle errors"
git log --oneline | cut -d' ' -f2-
git checkout release-2
X

record rspec rspec <<'X'
mkdir -p spec lib
printf 'class Cart\n  def total(prices)\n    prices.sum * 2\n  end\nend\n' > lib/cart.rb
printf 'require_relative "../lib/cart"\n\nRSpec.describe Cart do\n  it "raises no error" do\n    Cart.new\n  end\n\n  it "sums up" do\n    expect(Cart.new.total([1, 2])).to eq(3)\n  end\nend\n' > spec/cart_spec.rb
rspec
X

record ruby ruby <<'X'
printf 'def deploy(target)\n  target.upcase\nend\n\nputs "error reporting is on"\ndeploy(nil)\n' > deploy.rb
ruby deploy.rb
X

record sql sqlite3 <<'X'
printf 'create table users (id integer primary key);\ninsert into user values (1);\n' > a.sql
sqlite3 -bail a.db < a.sql
X

record maven mvn <<'X'
mkdir -p src/main/java
printf '<project><modelVersion>4.0.0</modelVersion><groupId>org.example</groupId><artifactId>thing</artifactId><version>1</version></project>' > pom.xml
mvn -B -o compile
X

record docker-no-daemon docker <<'X'
printf 'FROM scratch\n' > Dockerfile
DOCKER_HOST=unix:///nonexistent.sock docker build .
X

record curl curl <<'X'
echo "fetching the list of error codes"
curl -sSf http://127.0.0.1:9/codes.json -o codes.json
X

# Runs that pass, and speak of errors.

record green-cargo cargo <<X
$rust_crate
printf 'thiserror = "2"\nanyhow = "1"\n' | sed '1i [dependencies]' >> Cargo.toml
cat > src/lib.rs <<'R'
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("can't read")]
    Read,
}
#[cfg(test)]
mod tests {
    #[test]
    fn error_is_shown() {
        println!("error: printed by a test that passes");
        assert_eq!(super::LoadError::Read.to_string(), "can't read");
    }
    #[test]
    fn failure_is_not_an_option() {}
}
R
cargo test
X

record green-pytest python3 <<X
. $work/venv/bin/activate
printf 'def test_error_handling():\n    pass\n\ndef test_failed_login_is_refused():\n    pass\n' > test_errors.py
pytest -v
echo "Found 0 errors in 1 file, 0 failed"
X

record green-gcc gcc <<'X'
printf 'int parse_error(int code) { return code; }\n' > errors.c
printf '#include <stdio.h>\nint parse_error(int code);\nint main(void) { puts("no errors"); return parse_error(0); }\n' > main.c
set -x
gcc -Wall -Werror -Werror=format -fno-exceptions -c errors.c -o errors.o
gcc -Wall -Werror main.c errors.o -o error-test
./error-test
X

record green-go go <<'X'
export GOTOOLCHAIN=local
printf 'module example.org/thing\n\ngo 1.19\n' > go.mod
printf 'package thing\n\nimport "errors"\n\nvar ErrFailed = errors.New("failed")\n' > errors.go
printf 'package thing\n\nimport "testing"\n\nfunc TestErrFailed(t *testing.T) {\n\tt.Log("error is", ErrFailed)\n}\n' > errors_test.go
go vet ./...
go test -v ./...
X

record green-jest npx <<X
ln -s $work/modules/node_modules node_modules
printf '{"name": "thing", "scripts": {"test": "jest --ci --verbose"}}' > package.json
printf 'test("shows an error page", () => {});\ntest("failed uploads are tried again", () => {});\n' > error-handler.test.js
npm test
X

record green-cmake cmake <<'X'
printf 'cmake_minimum_required(VERSION 3.10)\nproject(thing C)\ninclude(CheckIncludeFile)\ncheck_include_file(error.h HAVE_ERROR_H)\ncheck_include_file(no-such-error.h HAVE_NO_SUCH_ERROR_H)\nenable_testing()\nadd_executable(error_test t.c)\nadd_test(error_is_reported error_test)\nadd_test(fails_as_it_should false)\nset_tests_properties(fails_as_it_should PROPERTIES WILL_FAIL TRUE)\n' > CMakeLists.txt
printf 'int main(void) { return 0; }\n' > t.c
cmake -B build
cmake --build build
cd build && ctest
X

record green-apt apt-get <<'X'
apt-get install -y --no-install-recommends --reinstall libgpg-error0 libcom-err2
X

record green-rspec rspec <<'X'
mkdir -p spec
printf 'RSpec.describe "errors" do\n  it "fails gracefully on an error" do\n  end\nend\n' > spec/errors_spec.rb
rspec --format documentation
X

record green-shell bash <<'X'
cat <<'S'
Checking error handling... ok
0 errors, 0 warnings
No errors found.
errors: 0
Finished without errors
Uploading error-pages/404.html
Sending build context, exit on error is set
Retries: 0, failures: 0, failed: 0
test result: ok. 12 passed; 0 failed; 0 ignored
See https://example.org/errors/not-found for error codes
compiling src/error.rs, src/errors/mod.rs
Error handling guide written to docs/errors.md
PASS: parser reports an error on bad input
ok 3 - prints "fatal error" for a broken file
Coverage: error.ts 100%, fail.ts 98.2%
S
X

# Held back: recorded and judged after the matchers had been written.

record held-clippy bash <<Y
$rust_crate
printf 'fn main() {\n    let v: Vec<u8> = Vec::new();\n    if v.len() == 0 { println!("x"); }\n}\n' > src/main.rs
cargo clippy -- -D warnings
Y

record held-cargo-fmt bash <<Y
$rust_crate
printf 'fn main() {\nlet x=1;\n    println!("{x}");\n}\n' > src/main.rs
cargo fmt --check
Y

record held-doctest bash <<Y
$rust_crate
printf '/// Adds.\n/// \`\`\`\n/// assert_eq!(thing::add(1, 1), 3);\n/// \`\`\`\npub fn add(a: u8, b: u8) -> u8 { a + b }\n' > src/lib.rs
cargo test
Y

record held-cargo-dep bash <<Y
$rust_crate
printf '[dependencies]\nthis-crate-does-not-exist-xyz = "1"\n' >> Cargo.toml; echo > src/lib.rs
cargo build --offline
Y

record held-cargo-panic bash <<Y
$rust_crate
printf 'fn main() {\n    println!("error count: 0");\n    let n: usize = "12x".parse().expect("a number");\n    println!("{n}");\n}\n' > src/main.rs
cargo run -q
Y

record held-cpp-template bash <<'Y'
printf '#include <map>\n#include <string>\nstruct K { int a; };\nint main() { std::map<K, int> m; m[K{1}] = 2; }\n' > a.cc
g++ -c a.cc
Y

record held-cmake-build bash <<'Y'
printf 'cmake_minimum_required(VERSION 3.10)\nproject(t CXX)\nadd_library(l l.cc)\nadd_executable(t t.cc)\ntarget_link_libraries(t l)\n' > CMakeLists.txt
printf 'int f() { return 1; }\n' > l.cc; printf '#include "missing.h"\nint main() { return f(); }\n' > t.cc
cmake -B b >/dev/null; cmake --build b
Y

record held-segv bash <<'Y'
printf 'int main() { int *p = 0; return *p; }\n' > a.c; gcc a.c -o a; ./a
Y

record held-asan bash <<'Y'
printf '#include <stdlib.h>\nint main() { char *p = malloc(3); p[3] = 1; free(p); return 0; }\n' > a.c; gcc -g -fsanitize=address a.c -o a; ./a
Y

record held-node-esm bash <<'Y'
printf 'import { readFile } from "node:fs/promises";\nimport x from "./nope.mjs";\n' > a.mjs; node a.mjs
Y

record held-node-test bash <<'Y'
printf 'const test = require("node:test"); const assert = require("node:assert");\ntest("adds", () => { assert.strictEqual(1 + 1, 3); });\ntest("fine", () => {});\n' > a.test.js; node --test
Y

record held-node-reject bash <<'Y'
printf 'async function main() { throw new Error("the database is gone"); }\nmain();\n' > a.js; node a.js
Y

record held-npm-404 bash <<'Y'
printf '{"name":"t","version":"1.0.0","dependencies":{"@windlass-nobody/no-such-package-at-all":"1.0.0"}}' > package.json; npm install --no-audit --no-fund
Y

record held-npm-build-fails bash <<'Y'
printf '{"name":"t","version":"1.0.0","scripts":{"build":"node -e \\"throw new TypeError(%sx is undefined%s)\\""}}' "'" "'" > package.json; npm run build
Y

record held-py-syntax bash <<'Y'
printf 'def f(:\n    pass\n' > a.py; python3 a.py
Y

record held-py-import bash <<'Y'
printf 'import requestz\n' > a.py; python3 a.py
Y

record held-py-assert-msg bash <<'Y'
. /tmp/windlass-corpus/venv/bin/activate
printf 'import pytest\n@pytest.fixture\ndef db():\n    raise ConnectionRefusedError("no database on port 5432")\ndef test_a(db):\n    assert True\ndef test_b():\n    assert {"a": 1} == {"a": 2}\n' > test_x.py; pytest --tb=short
Y

record held-pip-build bash <<'Y'
. /tmp/windlass-corpus/venv/bin/activate
mkdir p; printf 'from setuptools import setup\nraise RuntimeError("needs libfoo")\n' > p/setup.py; pip install --no-build-isolation ./p
Y

record held-go-vet bash <<'Y'
export GOTOOLCHAIN=local; printf 'module e\n\ngo 1.19\n' > go.mod; printf 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Printf("%%d\\n", "x") }\n' > main.go; go vet ./...
Y

record held-go-test-panic bash <<'Y'
export GOTOOLCHAIN=local; printf 'module e\n\ngo 1.19\n' > go.mod; printf 'package e\n\nimport "testing"\n\nfunc TestX(t *testing.T) { var p *int; *p = 1 }\n' > e_test.go; go test ./...
Y

record held-go-test-v bash <<'Y'
export GOTOOLCHAIN=local; printf 'module e\n\ngo 1.19\n' > go.mod; printf 'package e\n\nimport "testing"\n\nfunc TestA(t *testing.T) { t.Log("an error is logged") }\nfunc TestX(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Fatalf("want %%d", 3) }) }\n' > e_test.go; go test -v ./...
Y

record held-java-test bash <<'Y'
printf 'public class A { public static void main(String[] a) { try { Object o = null; o.toString(); } catch (Exception e) { throw new RuntimeException("startup failed", e); } } }\n' > A.java; java A.java
Y

record held-ruby-syntax bash <<'Y'
printf 'def a\n  puts "x"\n' > a.rb; ruby a.rb
Y

record held-bash-unbound bash <<'Y'
printf 'set -euo pipefail\necho "deploying, errors stop it"\necho "$TARGET"\n' > a.sh; bash a.sh
Y

record held-tar bash <<'Y'
echo hello > x.tgz; tar xzf x.tgz
Y

record held-git-push bash <<'Y'
git init -q .; git push /nonexistent/repo.git HEAD
Y

record held-dd bash <<'Y'
chmod 500 .; echo start; su nobody -s /bin/sh -c 'echo x > out.txt'
Y

record held-eslint-crash bash <<'Y'
ln -s /tmp/windlass-corpus/modules/node_modules node_modules; echo 'module.exports = [' > eslint.config.js; npx eslint .
Y

record held-jest-syntax bash <<'Y'
ln -s /tmp/windlass-corpus/modules/node_modules node_modules; echo '{}' > package.json; printf 'test("a", () => { expect(1 })\n' > a.test.js; npx jest --ci
Y

record held-make-recursive bash <<'Y'
mkdir sub; printf 'all:\n\t$(MAKE) -C sub\n' > Makefile; printf 'all: a.o\na.o: a.c\n\tgcc -c a.c\n' > sub/Makefile; printf 'int f(void) { return x; }\n' > sub/a.c; make
Y

for line in ${missing[@]+"${missing[@]}"}; do echo "not recorded: $line" >&2; done
