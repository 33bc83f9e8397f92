// How many connections one blob is worth: found out by trying, never configured.
#pragma once

namespace gantry::images {

inline constexpr int kMaxConnectionsPerBlob = 8;

// Fed with one measured period after the other. A value; one thread.
class ConnectionPlan {
 public:
  struct Period {
    double rate = 0;          // bytes per second, all connections together
    double reader_share = 0;  // of the period's time in which the reader held everybody up, 0 to 1
  };
  // How many connections there should be from now on. Starts with one; grows by half and at least
  // one while each step has made the whole at least 15 % faster; a step that has not is taken back,
  // and that is the end of it; but two connections get a second chance after twenty periods, since
  // the other one may have met a slow front end. A reader that takes more than half of the time is
  // the limit: connections would not help. One period may be a busy machine; it takes two in a row
  // to begin.
  int Next(const Period& period);
  int wanted() const { return wanted_; }

 private:
  int wanted_ = 1, previous_ = 1;
  int resting_ = 0;        // periods until the second chance
  bool failed_ = false;    // the first one is over
  int hungry_ = 0;         // periods in a row in which the network was the limit
  double before_ = 0;      // the rate before the last step
  bool starting_ = false;  // the period in which new connections start says nothing
  bool settled_ = false;
};

}  // namespace gantry::images
