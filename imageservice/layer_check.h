// Is a layer on disk still what was written?
#pragma once

#include <functional>
#include <string>

#include "imageservice/layer_record.h"
#include "runtime/base/status.h"

namespace gantry::images {

// `folder`: of the layer. Without `contents` the record, the sizes of the files and all of an EROFS
// layer's meta are looked at: milliseconds. With it every byte is read: of EROFS layers against the
// checksums that were written with them, of directories number and space of the files only, which
// have none. kDataLoss or kInvalidArgument says what is wrong, other codes that it could not be
// read.
Status CheckLayer(const std::string& folder, const LayerInfo& info, bool contents);

}  // namespace gantry::images
