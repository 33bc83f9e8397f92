// ListMetricDescriptors: the same list for the whole life of the daemon.
#include "cri/metric_families.h"
#include "cri/service.h"

namespace gantry::cri {

grpc::Status RuntimeService::ListMetricDescriptors(grpc::ServerContext*,
                                                   const v1::ListMetricDescriptorsRequest*,
                                                   v1::ListMetricDescriptorsResponse* response) {
  for (const MetricFamily& family : MetricFamilies()) {
    v1::MetricDescriptor* descriptor = response->add_descriptors();
    descriptor->set_name(family.name);
    descriptor->set_help(family.help);
    for (const char* label : kBaseLabels) descriptor->add_label_keys(label);
    for (const char* label : family.labels)
      if (label != nullptr) descriptor->add_label_keys(label);
  }
  return grpc::Status::OK;
}

}  // namespace gantry::cri
