/* Answers CPUID without AVX-512, for libraries in which `hide_avx512.py` replaced that instruction by
 * one that no processor has (0F 0A): the system reports it as SIGILL, and what CPUID would have
 * returned is put into the registers. Loaded by LD_PRELOAD.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#define BIT(n) (1u << (n))

static const unsigned char REPLACED[2] = {0x0f, 0x0a};

static void answer(int signal, siginfo_t *info, void *context) {
    (void)info;
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    if (memcmp((const void *)g[REG_RIP], REPLACED, sizeof REPLACED) != 0) {
        /* Not one of ours: with the default handler it is raised again, and ends the process. */
        sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
        return;
    }
    unsigned leaf = (unsigned)g[REG_RAX], part = (unsigned)g[REG_RCX], a, b, c, d;
    __cpuid_count(leaf, part, a, b, c, d);
    if (leaf == 7 && part == 0) {
        /* AVX-512's F, DQ, IFMA, PF, ER, CD, BW, VL; VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ; its other parts, and AMX. */
        b &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31));
        c &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));
        d &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25));
    }
    if (leaf == 7 && part == 1) {
        /* AVX512_BF16, AMX_FP16; AVX10. */
        a &= ~(BIT(5) | BIT(21));
        d &= ~BIT(19);
    }
    if (leaf == 0xd && part == 0) {
        /* Registers that the system saves: AVX-512's masks, the upper halves of zmm0 to zmm15, zmm16 to zmm31. */
        a &= ~(BIT(5) | BIT(6) | BIT(7));
    }
    g[REG_RAX] = a;
    g[REG_RBX] = b;
    g[REG_RCX] = c;
    g[REG_RDX] = d;
    g[REG_RIP] += sizeof REPLACED;
}

__attribute__((constructor)) static void start(void) {
    sigaction(SIGILL, &(struct sigaction){.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER}, NULL);
}
