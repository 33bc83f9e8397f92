// The last steps of a layer in staging/, before its name says that it is complete.
#pragma once

#include <string>
#include <vector>

#include "imageservice/layer_record.h"
#include "runtime/base/status.h"

namespace gantry::images {

// Sets trusted.overlay.opaque on directories of a layer that is being made: the unpacker may not.
// `tree`: its fs directory; `paths` are relative to it and were named by a process that read
// hostile bytes: no link is followed, nothing above reached.
Status MarkOpaque(int tree, const std::vector<std::string>& paths);

// The same for the directories that the file `opaque` in `folder` names (NUL-separated), of the
// tree in its fs/; then the file is deleted. OK when there is none.
Status MarkListed(int folder);

// Makes what an unpacker left in the folder `staging` a layer: checks it, measures it, writes its
// record, and returns once all of it is durable but for the folder's name. `info`: digest and
// diffID are given, the rest is filled in (a usage that is given stays). The form is what lies
// there: with a file `meta` EROFS, which is verified as bytes of a process that nobody trusts; else
// a tree in fs/, with MarkListed's list, and `recipe` where its archive can be made again.
Status PrepareLayer(const std::string& staging, LayerInfo* info);

}  // namespace gantry::images
