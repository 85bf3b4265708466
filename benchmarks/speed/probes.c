/* What one core can do at most: read memory, multiply and add. */

/* Reads n_lines cache lines of 64 bytes `rounds` times, as fast as one core can, and returns something that depends
   on all of them. The result of a round is kept from the compiler's sight, so that no round is left out. */

typedef long long line __attribute__((vector_size(64), aligned(64)));

long long read_lines(const line *data, long n_lines, long rounds)
{
    line a = {0}, b = {0}, c = {0}, d = {0};
    for (long r = 0; r < rounds; r++) {
        long i = 0;
        for (; i + 8 <= n_lines; i += 8) {
            a ^= data[i], b ^= data[i + 1], c ^= data[i + 2], d ^= data[i + 3];
            a ^= data[i + 4], b ^= data[i + 5], c ^= data[i + 6], d ^= data[i + 7];
        }
        for (; i < n_lines; i++) a ^= data[i];
        __asm__ volatile("" : "+m"(a), "+m"(b), "+m"(c), "+m"(d) : : "memory");
    }
    a ^= b ^ c ^ d;
    return a[0] ^ a[1] ^ a[2] ^ a[3] ^ a[4] ^ a[5] ^ a[6] ^ a[7];
}

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX2__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define SUMS 12 /* enough at once to hide the latency, few enough for the registers */

typedef float numbers __attribute__((vector_size(BYTES)));

/* Does `rounds` times 12 fused multiplications and additions of vectors that stay in registers; returns how many
   multiplications and additions a round has. */
long multiply_add(long rounds)
{
    numbers sums[SUMS], factor = {0};
    for (int k = 0; k < SUMS; k++) sums[k] = factor;
    __asm__ volatile("" : "+m"(factor), "+m"(sums)); /* who knows what they are now: nothing is left out */
    for (long r = 0; r < rounds; r++)
#pragma GCC unroll 12
        for (int k = 0; k < SUMS; k++) sums[k] = sums[k] * factor + factor;
    for (int k = 0; k < SUMS; k++) __asm__ volatile("" : : "m"(sums[k]));
    return SUMS * 2 * (BYTES / (long)sizeof(float));
}
