// The instruction sets that this build has and this machine can run, the best one first.
#pragma once

#include <vector>

#include "calls.h"

namespace elman {

const std::vector<const KernelTable*>& instruction_sets();

}  // namespace elman
