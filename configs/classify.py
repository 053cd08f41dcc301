"""The paper's final model: U and V of CIELUV, each classified into 50 bins.

    python -m colorjax.main --config=configs/classify.py

On the bundled photographs, two CPU cores, random encoder: 3 min 48 s; training loss 7.4 -> 3.9. The
eleven training photographs come out in their colours, with a blotch here and there. The hold-out,
one photograph, says nothing (rounding alone takes L_reg from 3026 to 5170): PSNR 14.7 dB, Sat. diff
0.19; the constant predictor has L_reg 2190, 14.4 dB and 0.95.

`--config.data.source=folder:PATH` on 1465 photographs of mountains, with model.width=0.5,
batch_size=12, num_steps=1200: 30 min; hold-out Acc.U 0.26, Acc.V 0.14, L_reg 461, Sat. diff 0.44;
the constant predictor has 0.25, 0.11, 748 and 0.75.
"""

from ml_collections import ConfigDict

from colorjax.errors import UserError


def get_config(variant: str = "sample") -> ConfigDict:
    """`sample`: the bundled photographs, on a CPU. `paper`: the paper's setting, for a GPU."""
    config = ConfigDict()
    config.mode = "train"  # goes on where a run stopped; or eval, prior, sweep, reproduce
    config.sweep = ()  # (("optimizer.learning_rate", (1e-4, 1e-3)), ...): every combination
    config.sweep_by = "loss"  # the metric, of which lower is better, that the best run is chosen by
    config.sweep_index = -1  # of the one run of the sweep to do; -1: all
    config.seed = 0
    config.batch_size = 6  # over all devices together
    config.accumulate = 1  # batches whose gradients make one update
    config.num_steps = 150
    config.steps_before = 0  # steps that the run must have done already: the stage before this one
    config.num_seconds = 0.0  # if not 0, end after this time, the rate falling to zero by then
    config.log_every = 10
    config.eval_every = 50
    config.checkpoint_every = 50
    config.init_from = ""  # a run, a released file, or `release`, to start from: its whole network
    config.ema = 0.0  # decay of an average of the network that is measured in its place; 0: none
    config.frames = 0.0  # share of the photographs that get a black or white frame in training
    config.ageing = 0.0  # strength, up to 1, by which the network's input is made to look old
    config.max_skipped = 20  # steps in a row that may fail to be finite before the run stops
    config.figure_images = 6

    config.data = ConfigDict()
    config.data.source = "sample"  # or folder:PATH[,PATH...], packed:DIR[,DIR...], tfds:NAME
    config.data.holdout = 0.1  # share that training is watched on, and the best checkpoint chosen
    config.data.test = 0.0  # share that only evaluation sees; 0: it takes the hold-out
    config.data.holdout_folders = ()  # names of folders to hold out of, ("coco",); (): of all
    config.data.weights = ()  # how often photographs are shown, by folder: (("scenes", 0.5),)
    config.data.max_images = 0  # use so many, evenly spread over the source; 0: all
    config.data.fit = "crop"  # to the middle square; or scale, as the paper does, to a square
    config.data.load_size = 72  # photographs are made square and brought to this side ...
    config.data.crop_size = 64  # ... and cropped at random to this one in training
    config.data.scale_jitter = 0.0  # crops show a side up to this share smaller, resized; 0: as is
    config.data.resident = False  # keep all photographs in the devices' memory, for a GPU
    config.data.min_chroma = 3.0  # mean of max(RGB) - min(RGB) below which a photograph is gray
    config.data.max_unreadable = 0.1  # share of files that may be left out with a warning
    config.data.tfds_dir = ""  # where TFDS sets are, if elsewhere
    config.data.cache_dir = ""  # keep decoded squares here (old ones may be deleted); "": nowhere
    config.data.num_threads = 2
    config.data.statistics_images = 1000  # over which the bins' frequencies are counted

    config.augment = ConfigDict()
    config.augment.crop = True  # False: the middle
    config.augment.flip = True

    config.objective = "classification"  # or regression
    config.space = "luv"  # or lab, yuv, hsv
    config.regression = ConfigDict()
    config.regression.loss = "l2"  # or huber
    config.regression.huber_m = 0.1  # of chroma divided by 100; measured in configs/huber.py

    config.bins = ConfigDict()
    config.bins.layout = "channels"  # or joint: squares of the plane of both channels
    config.bins.num_bins = 50  # of each channel
    config.bins.low = -100.0
    config.bins.high = 100.0
    config.bins.joint_width = 10.0  # of the squares; they cover the whole gamut
    config.bins.value = "center"  # or mean: of the training set's values in the bin
    config.bins.softness = 0.0  # sigma of soft-encoded targets, in chroma; 0: the true bin alone

    config.rebalance = ConfigDict()  # of the loss, by how rare the true bin is
    config.rebalance.enabled = False
    config.rebalance.uniform = 0.5  # share of the uniform distribution in the prior; 1: no effect
    config.rebalance.sigma = 5.0  # by which the prior is blurred, in chroma

    config.perception = ConfigDict()  # added to the loss: what EfficientNet-Lite0 sees in a result
    config.perception.classes = 0.0  # times how far its classes are from those of the truth
    config.perception.maps = 0.0  # times how far its maps are

    config.decoding = ConfigDict()  # of scores, in evaluation and figures
    config.decoding.method = "argmax"  # or mean, annealed (mean at a temperature), sample
    config.decoding.temperature = 0.38
    config.decoding.seed = 0  # of sample
    # How much of the loss's rebalancing stays in the colours: 0 for none, colours as frequent as in
    # the photographs; 1 for all of it, rare ones more often.
    config.decoding.rebalance = 1.0
    config.decoding.vibrance = 0.0  # added to the chroma of means, which are paler than photographs

    config.model = ConfigDict()
    config.model.encoder = "vgg16"  # or squeezenet, efficientnet-lite0, whose outputs are smaller
    config.model.encoder_weights = "auto"  # or imagenet, none, or a file
    config.model.calibrate_batch_norm = True
    config.model.encoder_batch_norm = True
    config.model.train_depthwise = True  # kernels of efficientnet-lite0, which are dear on a CPU
    config.model.frozen_stages = 0  # of its first stages, which then stay as they are
    config.model.final_batch_norm = False
    config.model.skip_batch_norm = True  # on the encoder's maps before they are added
    config.model.residual_units = True
    config.model.merge = "concat"  # or sum
    config.model.decoder_features = (256, 128, 64, 64)
    config.model.final_features = (128, 64, 64)
    config.model.upscaling = "nearest"  # or bilinear
    config.model.width = 1.0
    config.model.dtype = "float32"  # or bfloat16: the computation's; parameters stay float32

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"  # or nesterov
    config.optimizer.momentum = 0.9  # of nesterov
    config.optimizer.learning_rate = 1e-3  # the paper's for a few hundred images
    config.optimizer.encoder_rate = 1.0  # share of it by which the encoder learns
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.schedule = "constant"  # or cosine
    config.optimizer.warmup_steps = 0
    config.optimizer.clip_norm = 0.0  # 0: off
    config.optimizer.weight_decay = 0.0

    if variant == "paper":
        config.data.fit = "scale"
        config.data.load_size = 224
        config.data.crop_size = 224
        config.augment.crop = False
        config.augment.flip = False
        config.bins.value = "mean"
        config.optimizer.learning_rate = 3e-4
        config.num_steps = 20_000
        config.log_every = 50
        config.eval_every = 1_000
        config.checkpoint_every = 500
    elif variant != "sample":
        raise UserError(f"configs/classify.py has no variant {variant!r}, want sample or paper")
    return config
