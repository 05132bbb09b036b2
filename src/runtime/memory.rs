//! What memory the kernel gives to the process: small pages, never huge ones, and of the program what is used.
//!
//! An allocator that asks for huge pages (mimalloc does) makes the kernel hand out and clear 2 MiB for the
//! first byte of each: an idle process had 21 MiB in place of 6, 10,000 idle connections took twice their
//! size, and a burst spent half of its time on clearing pages that nobody used. mimalloc itself is built without
//! (`no_thp`): what it asked for before `main` is huge already when this is called, 3 MiB of an idle process.

/// Keeps huge pages away from this process, where the kernel knows how (Linux 3.15, prctl(2)).
#[expect(unsafe_code, reason = "prctl(2) has no wrapper in std")]
pub fn use_small_pages() {
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: this call takes numbers only. A kernel that refuses it leaves all as it was.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, unused, unused, unused) };
}

/// Lets go of the pages of the program itself that are mapped: what is used again comes back from the page cache one
/// after the other, a few microseconds in all; what only reading a configuration needs (its parser, the command
/// line, the making of certificates' stores) does not. They are never written, so that nothing can be lost. For the start: while
/// requests are served, they would wait for what they need.
#[expect(unsafe_code, reason = "dl_iterate_phdr(3) has no wrapper in std")]
pub fn forget_program() {
    // SAFETY: the callback keeps the contract of dl_iterate_phdr(3), and is handed nothing.
    unsafe { libc::dl_iterate_phdr(Some(forget_object), std::ptr::null_mut()) };
}

/// Called for the program first; 1 ends the walk before the libraries, which other processes use, too.
#[expect(unsafe_code, reason = "called by dl_iterate_phdr(3)")]
unsafe extern "C" fn forget_object(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    _handed: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader hands one description that is valid for the length of this call, with its table of headers.
    let (object, headers) = unsafe {
        let object = &*object;
        (object, std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)))
    };
    let is_program = |header: &&libc::Elf64_Phdr| {
        header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0
    };
    for header in headers.iter().filter(is_program) {
        let start = object.dlpi_addr + header.p_vaddr;
        let from = start & !(PAGE_BYTES - 1);
        let bytes = (start + header.p_memsz - from) as usize;
        // SAFETY: a segment that is mapped from the program's file and never written: the kernel reads it again.
        unsafe { libc::madvise(from as *mut libc::c_void, bytes, libc::MADV_DONTNEED) };
    }
    1
}

/// The smallest page; where the kernel's are larger it refuses a start between two of them, and nothing is let go.
const PAGE_BYTES: u64 = 4096;
