// The directories of an EROFS image: written at the end, when every name is known.
#pragma once

#include "imageservice/erofs_file.h"
#include "imageservice/erofs_tree.h"
#include "runtime/base/status.h"

namespace gantry::images {

// Appends the inodes of all directories, then those of their blocks that do not fit behind an
// inode; the root's inode goes into block 1. `tree` is sorted. The same tree gives the same bytes.
Status WriteErofsDirectories(ErofsTree* tree, ErofsMetaFile* meta);

}  // namespace gantry::images
