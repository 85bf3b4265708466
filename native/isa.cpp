#include "isa.h"

namespace elman {

#if defined(__x86_64__)
namespace avx512 {
extern const KernelTable table;
}
namespace avx2 {
extern const KernelTable table;
}
namespace baseline {
extern const KernelTable table;
}

const std::vector<const KernelTable*>& instruction_sets() {
    static const std::vector<const KernelTable*> found = [] {
        std::vector<const KernelTable*> tables;
        const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
            tables.push_back(&avx512::table);
        if (has_avx2) tables.push_back(&avx2::table);
        tables.push_back(&baseline::table);
        return tables;
    }();
    return found;
}
#else
namespace neon {
extern const KernelTable table;
}

const std::vector<const KernelTable*>& instruction_sets() {
    static const std::vector<const KernelTable*> found = {&neon::table};
    return found;
}
#endif

}  // namespace elman
