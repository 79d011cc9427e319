//! Puts the shim together and becomes it: the first program of a container on a Swarm.
//!
//! A Docker config holds less than a megabyte and the static shim has more, so it travels as several
//! configs, `<own path>.0`, `.1` and so on, and this program, which is a few kilobytes. It joins them
//! in memory (`memfd_create`) and executes that with the arguments and variables that it was given.
//!
//! It stands outside the workspace and is compiled by `crates/windlass/build.rs`: it has neither a C
//! library nor Rust's standard library, whose parts alone are larger than a config may be. All unsafe
//! code is system calls on its own stack.

#![no_std]
#![no_main]
#![allow(unsafe_code)]

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
mod numbers {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const MEMFD_CREATE: usize = 319;
    pub const EXECVEAT: usize = 322;
}

#[cfg(target_arch = "aarch64")]
mod numbers {
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const CLOSE: usize = 57;
    pub const EXIT_GROUP: usize = 94;
    pub const OPENAT: usize = 56;
    pub const MEMFD_CREATE: usize = 279;
    pub const EXECVEAT: usize = 281;
}

const AT_FDCWD: usize = -100_isize as usize;
const AT_EMPTY_PATH: usize = 0x1000;
const ENOENT: isize = -2;
const EINTR: isize = -4;

/// The exit code of a shell that can't execute a program.
const EXIT: usize = 127;

/// The longest path of a part, with its number and the final zero.
const PATH: usize = 256;

// The kernel leaves argc, argv and the environment on the stack; `start` gets their address.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    start = sym start,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x0, sp",
    "bl {start}",
    start = sym start,
);

#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let answer: isize;
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let answer: isize;
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => answer,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            options(nostack),
        );
    }
    answer
}

unsafe extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the kernel's layout: argc, argc pointers, zero, the environment's pointers, zero.
    unsafe {
        let argc = *stack;
        let argv = stack.add(1);
        let env = argv.add(argc + 1);
        if argc == 0 {
            fail(b"it was started without its name\n");
        }
        let name = c"windlass-shim";
        let whole = call(numbers::MEMFD_CREATE, name.as_ptr() as usize, 0, 0, 0, 0);
        if whole < 0 {
            fail(b"the system makes no file in memory (memfd_create)\n");
        }
        let mut number = 0_u8;
        while append(*argv as *const u8, number, whole as usize) {
            number += 1;
        }
        if number == 0 {
            fail(b"the parts of the shim are not beside this program\n");
        }
        let empty = c"";
        call(
            numbers::EXECVEAT,
            whole as usize,
            empty.as_ptr() as usize,
            argv as usize,
            env as usize,
            AT_EMPTY_PATH,
        );
        fail(b"the shim can't be executed: is it made for this kind of processor?\n")
    }
}

/// Appends the part with this number; `false` if there is none.
unsafe fn append(own: *const u8, number: u8, to: usize) -> bool {
    let mut path = [0_u8; PATH];
    let mut length = 0;
    // SAFETY: `own` ends with a zero, and no more than fits is copied.
    unsafe {
        while *own.add(length) != 0 {
            if length + 3 >= PATH {
                fail(b"its path is too long\n");
            }
            path[length] = *own.add(length);
            length += 1;
        }
    }
    if number > 9 {
        return false;
    }
    path[length] = b'.';
    path[length + 1] = b'0' + number;
    // SAFETY: system calls on memory of this function.
    unsafe {
        let part = call(numbers::OPENAT, AT_FDCWD, path.as_ptr() as usize, 0, 0, 0);
        if part == ENOENT {
            return false;
        }
        if part < 0 {
            fail(b"a part of the shim can't be opened\n");
        }
        let mut buffer = [0_u8; 16 * 1024];
        loop {
            let read = call(numbers::READ, part as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0);
            if read == EINTR {
                continue;
            }
            if read < 0 {
                fail(b"a part of the shim can't be read\n");
            }
            if read == 0 {
                break;
            }
            let mut done = 0;
            while done < read as usize {
                let from = buffer.as_ptr() as usize + done;
                let written = call(numbers::WRITE, to, from, read as usize - done, 0, 0);
                if written == EINTR {
                    continue;
                }
                if written <= 0 {
                    fail(b"there is no memory for the shim\n");
                }
                done += written as usize;
            }
        }
        call(numbers::CLOSE, part as usize, 0, 0, 0, 0);
    }
    true
}

fn fail(why: &[u8]) -> ! {
    let prefix = b"windlass-shim: ";
    // SAFETY: system calls on memory that lives.
    unsafe {
        call(numbers::WRITE, 2, prefix.as_ptr() as usize, prefix.len(), 0, 0);
        call(numbers::WRITE, 2, why.as_ptr() as usize, why.len(), 0, 0);
        loop {
            call(numbers::EXIT_GROUP, EXIT, 0, 0, 0, 0);
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail(b"it panicked\n")
}

// What the compiler may put in the place of a loop.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    let mut at = 0;
    while at < count {
        // SAFETY: the caller's promise; volatile, so that this loop is not made a call of itself.
        unsafe { core::ptr::write_volatile(to.add(at), *from.add(at)) };
        at += 1;
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    let mut at = 0;
    while at < count {
        // SAFETY: the caller's promise; volatile, so that this loop is not made a call of itself.
        unsafe { core::ptr::write_volatile(to.add(at), value as u8) };
        at += 1;
    }
    to
}
