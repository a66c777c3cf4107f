use manager_core::vip::MAX_EPOCH;
use wire::VipNomination;

use super::{EPOCH_LEAP, far_fetched};

#[test]
fn an_epoch_out_of_nowhere_is_refused_by_name() {
    let refused = |epoch, highest| far_fetched(&VipNomination { epoch, drain: false }, highest);
    for (epoch, highest) in
        [(0, 0), (1, 0), (EPOCH_LEAP, 0), (5, 9), (EPOCH_LEAP + 7, 7), (MAX_EPOCH, MAX_EPOCH - 1)]
    {
        assert_eq!(refused(epoch, highest), None, "{epoch} after {highest}");
    }
    for (epoch, highest) in [(EPOCH_LEAP + 1, 0), (EPOCH_LEAP + 8, 7), (MAX_EPOCH, 5), (u64::MAX, 5)] {
        let reason = format!("epoch: {epoch} is more than 1048576 above {highest}, the highest known here");
        assert_eq!(refused(epoch, highest), Some(reason));
    }
}
