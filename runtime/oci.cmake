# Limits of cgroups (also gantryd's), and gantry-oci.

# What gantryd does before the shim clones; apart from gantry_runtime, which it does not link.
add_library(gantry_cgroup_limits STATIC cgroup_devices.cc cgroup_limits.cc)
add_library(gantry::cgroup_limits ALIAS gantry_cgroup_limits)
target_link_libraries(gantry_cgroup_limits PUBLIC gantry_linux gantry_spec)

gantry_test(cgroup_limits_test SOURCES cgroup_limits_test.cc LABELS root DEPS gantry::cgroup_limits)
gantry_test(cgroup_devices_test SOURCES cgroup_devices_test.cc LABELS root DEPS gantry::cgroup_limits)

# Static and not PIE, as the shim: relocating 30 shared objects would take longer than the work.
add_executable(gantry-oci
  hooks.cc
  main.cc
  oci_arguments.cc
  oci_container.cc
  oci_exec.cc
  oci_keeper.cc
  oci_lifecycle.cc
  oci_manage.cc
  oci_reports.cc
  oci_state.cc
  oci_terminal.cc
)
target_link_libraries(gantry-oci PRIVATE
  gantry_runtime gantry_cgroup_limits gantry_seccomp gantry_spec gantry_linux)

if(NOT GANTRY_SANITIZE)
  target_link_options(gantry-oci PRIVATE -static)
endif()

gantry_test(oci_arguments_test SOURCES oci_arguments.cc oci_arguments_test.cc LABELS unit DEPS gantry::base)
gantry_test(oci_test SOURCES oci_test.cc LABELS root DEPS gantry::linux)
target_compile_definitions(oci_test PRIVATE GANTRY_OCI="$<TARGET_FILE:gantry-oci>")
add_dependencies(oci_test gantry-oci)
