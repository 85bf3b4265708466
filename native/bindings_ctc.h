// The part of the door to Python for CTC: the loss, and prefix beam search.
#pragma once

#include <nanobind/nanobind.h>

#include "calls.h"

namespace elman {

void bind_ctc(nanobind::module_& m, const KernelTable* const* table);

}  // namespace elman
